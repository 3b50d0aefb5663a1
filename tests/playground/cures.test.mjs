import assert from "node:assert/strict";
import { test } from "node:test";

import { advice, explained } from "../../playground/cures.js";

test("an error whose cause is known here says what to do, and every other keeps its sentence", () => {
  const error = { content: "Ask whoever runs it.", reason: "key", retryable: false };
  assert.deepEqual(explained(error, { key: "Check it." }), { ...error, content: "Check it." });
  for (const cures of [{ model: "Another one." }, {}, null]) assert.equal(explained(error, cures), error);
  assert.equal(explained({ ...error, reason: undefined }, { key: "Check it." }).content, error.content);
});

test("what the HTTP API refuses is said without fields and bytes", () => {
  assert.doesNotMatch(advice("too_large", 413, "size: must be at most 10485760 bytes, is 11000008"), /size:|bytes/);
  assert.match(advice("unauthorized", 401, "Invalid API key"), /Key needed/);
  assert.match(advice("unreached", 0), /`make run` is running/);
  assert.match(advice(undefined, 503, undefined), /Try again/);
  assert.equal(advice("forbidden", 403, "There is no such conversation."), "There is no such conversation.");
});
