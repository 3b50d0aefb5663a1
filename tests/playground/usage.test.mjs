import assert from "node:assert/strict";
import { test } from "node:test";

import { today, usedBy } from "../../playground/usage.js";

const USAGE = { input_tokens: 200, output_tokens: 34, cache_read_input_tokens: 1000, cache_creation_input_tokens: 0 };

test("a reply's tokens are all of them together, and its cents are as exact as anybody needs", () => {
  const dear = usedBy({ model: "claude", usage: USAGE, cost: 0.0031415 });
  assert.equal(dear.text, "1,234 tokens · 0.31 ¢");
  assert.equal(dear.title, "200 in, 34 out, 1,000 cache read, 0 cache written; claude; $0.003142");
  assert.equal(usedBy({ model: "codex", usage: { output_tokens: 1 } }).text, "1 token");
  assert.equal(usedBy({ model: "codex", usage: { output_tokens: 1 } }).title, "1 out; codex");
  assert.equal(usedBy({ model: "", usage: {} }), null);
  assert.equal(usedBy({ stop_reason: "cancelled" }), null);
  for (const [cost, said] of [
    [0.000001, "0.0001 ¢"],
    [0.0421, "4.2 ¢"],
    [0.456, "46 ¢"],
    [1234.5, "$1,234.50"],
  ])
    assert.equal(usedBy({ usage: { output_tokens: 2 }, cost }).text, `2 tokens · ${said}`);
});

const UNLIMITED = { tokens_per_day: null, dollars_per_day: null };
const day = { tokens: null, dollars: null, until: "2026-12-01T00:00:00+00:00" };
const DAYS = [
  { day: "2026-11-29", used: { tokens: 9, dollars: 9 } },
  { day: "2026-11-30", used: { tokens: 12345, dollars: 0.042 } },
];

test("today is what the server calls so, and what is left is the least of what is limited", () => {
  const told = (limits, left = {}, month = {}, days = DAYS) =>
    today({
      days,
      limits: { ...UNLIMITED, ...limits },
      left: { day: { ...day, ...left }, month: { ...day, ...month } },
    });
  assert.deepEqual(told({}), ["Today: 12,345 tokens, 4.2 ¢"]);
  assert.deepEqual(told({}, {}, {}, DAYS.slice(0, 1)), ["Today: 0 tokens"]);
  assert.deepEqual(told({ dollars_per_day: 5 }, { dollars: 4.958 }), [
    "Today: 12,345 tokens, 4.2 ¢ of $5.00",
    "$4.96 left today, until 00:00 UTC",
  ]);
  assert.deepEqual(
    told({ tokens_per_day: 20000, dollars_per_day: 5 }, { tokens: 7655, dollars: 4.958 }, { dollars: 2 }),
    ["Today: 12,345 of 20,000 tokens, 4.2 ¢ of $5.00", "$2.00 left this month, until December 1, 00:00 UTC"],
  );
  assert.deepEqual(told({ tokens_per_day: 20000 }, { tokens: 7655 }, { tokens: 9000 }), [
    "Today: 12,345 of 20,000 tokens, 4.2 ¢",
    "7,655 tokens left today, until 00:00 UTC",
  ]);
  assert.deepEqual(told({ tokens_per_day: 9 }, { tokens: 0, dollars: 1 }, { dollars: 2 }), [
    "Today: 12,345 of 9 tokens, 4.2 ¢",
    "Nothing left today, until 00:00 UTC",
  ]);
});
