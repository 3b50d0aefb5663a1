import assert from "node:assert/strict";
import { test } from "node:test";

import { Pushes } from "../../../playground/views/pushes.js";

globalThis.sessionStorage = { getItem: () => null, setItem() {} };
globalThis.EventSource = class extends EventTarget {
  close() {}
};

test("a double click on the bell registers one device", async () => {
  const registered = [];
  const http = { registerDevice: async ({ id }) => registered.push(id), removeDevice: async () => registered.pop() };
  const pushes = new Pushes({ setAttribute() {} }, null, http, { open() {}, changed() {} });
  await Promise.all([pushes.toggle(), pushes.toggle()]);
  assert.deepEqual(registered, [pushes.device]);
  await pushes.toggle();
  assert.deepEqual([registered, pushes.device], [[], null]);
});
