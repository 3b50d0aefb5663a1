import assert from "node:assert/strict";
import { test } from "node:test";

test("a browser that forbids to keep anything lets the page run, and keeps it while that is open", async () => {
  for (const name of ["localStorage", "sessionStorage"]) {
    Object.defineProperty(globalThis, name, {
      get() {
        throw new DOMException("forbidden", "SecurityError");
      },
    });
  }
  const { shared, own } = await import("../../../playground/state/storage.js");
  shared.setItem("theme", "dark");
  own.setItem("key", "crk_");
  own.removeItem("key");
  assert.deepEqual(
    [shared.getItem("theme"), shared.length, shared.key(0), own.getItem("key")],
    ["dark", 1, "theme", null],
  );
});
