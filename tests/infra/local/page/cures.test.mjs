import assert from "node:assert/strict";
import { test } from "node:test";

import { advice, explained } from "../../../../infra/local/page/cures.js";

const ANTHROPIC = { name: "Anthropic", variable: "ANTHROPIC_API_KEY", model: "ClaudeModel" };
const BRIDGEHUB = { name: "BridgeHub", variable: "BRIDGEHUB_TOKEN" };

test("why a service refuses this deployment is said with what to change here", () => {
  const said = (reason, service) => explained({ content: "Ask whoever runs it.", reason }, service).content;
  assert.match(said("key", ANTHROPIC), /^Anthropic refused the key .* Check ANTHROPIC_API_KEY and start `make run` again\.$/);
  assert.match(said("account", ANTHROPIC), /Add credit/);
  assert.match(said("model", ANTHROPIC), /--parameter ClaudeModel=/);
  assert.doesNotMatch(said("model", BRIDGEHUB), /undefined|--parameter/);
  for (const reason of ["permission", "settings", "unreachable"]) assert.match(said(reason, BRIDGEHUB), /^BridgeHub /);
});

test("what nobody here can mend keeps its own sentence", () => {
  const error = { content: "Claude is very busy at the moment.", reason: "busy", retryable: true };
  assert.deepEqual([explained(error, ANTHROPIC), explained({ ...error, reason: "key" }, null)], [error, { ...error, reason: "key" }]);
});

test("what the HTTP API refuses is said without fields and bytes", () => {
  assert.doesNotMatch(advice("too_large", 413, "size: must be at most 10485760 bytes, is 11000008"), /size:|bytes/);
  assert.match(advice("unauthorized", 401, "Invalid API key"), /Key needed/);
  assert.match(advice("unreached", 0), /`make run` is running/);
  assert.match(advice(undefined, 503, undefined), /Try again/);
  assert.equal(advice("forbidden", 403, "There is no such conversation."), "There is no such conversation.");
});
