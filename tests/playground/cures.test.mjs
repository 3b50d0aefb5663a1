import assert from "node:assert/strict";
import { test } from "node:test";

import { advice, explained, waitText, withWait } from "../../playground/cures.js";

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

test("a wait is told in the units that one waits in", () => {
  for (const [seconds, said] of [
    [0.2, "1 s"],
    [120, "120 s"],
    [121, "3 min"],
    [3541, "1 h"],
    [42_120, "11 h 42 min"],
    [86_400, "1 d"],
    [2_620_000, "30 d 8 h"],
  ])
    assert.equal(waitText(seconds), said);
});

test("whoever has used up a day hears when to come back, if ever", () => {
  const sentence = "A day has room for 5 files of yours.";
  assert.equal(advice("quota_exceeded", 429, sentence, 42_120), `${sentence} Try again in 11 h 42 min.`);
  assert.equal(advice("quota_exceeded", 429, sentence), sentence);
  assert.equal(withWait(sentence, undefined), sentence);
  assert.doesNotMatch(advice("internal", 503, "The relay is busy. Try again.", 1), / s\.$/);
});
