import assert from "node:assert/strict";
import { test } from "node:test";

import { Blobs } from "../../../playground/state/blobs.js";

/** A database of which every request is granted, or none. */
function database(files) {
  const asked = (result) => {
    const request = Object.assign(new EventTarget(), { result });
    queueMicrotask(() => request.dispatchEvent(new Event(files ? "success" : "error")));
    return request;
  };
  const store = { put: (kept, id) => asked(files?.set(id, kept)), get: (id) => asked(files?.get(id)) };
  return { open: () => asked({ transaction: () => ({ objectStore: () => store }) }) };
}

test("what is kept is a copy, or the file itself if there is no room", async () => {
  for (const files of [new Map(), null]) {
    globalThis.indexedDB = database(files);
    const blobs = new Blobs();
    const chosen = new Blob(["Hello"]);
    await blobs.keep("f1", chosen);
    const copy = new Blob(["Hello"]);
    files?.set("f1", { blob: copy });
    assert.equal(await blobs.get("f1"), files ? copy : chosen);
  }
});
