import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { isCurrent, missing, newReply, place, prove } from "../../../clients/js/assembly.js";

function received(...frames) {
  const reply = newReply("r1");
  const outcomes = frames.map(([offset, content, epoch = 1]) =>
    place(reply, { type: "message", part: 0, offset, content, epoch }),
  );
  return { text: reply.text, outcomes, reply };
}

test("frames in order are appended", () => {
  const { text, outcomes } = received([0, "Hel"], [3, "lo"]);
  assert.equal(text, "Hello");
  assert.deepEqual(outcomes, ["appended", "appended"]);
});

test("what is known already is trimmed from a frame that overlaps", () => {
  const { text, outcomes } = received([0, "Hello"], [3, "lo, world"]);
  assert.equal(text, "Hello, world");
  assert.deepEqual(outcomes, ["appended", "appended"]);
});

test("a frame that repeats what is known changes nothing", () => {
  const { text, outcomes } = received([0, "Hello"], [0, "Hello"], [1, "ell"]);
  assert.equal(text, "Hello");
  assert.deepEqual(outcomes, ["appended", "repeated", "repeated"]);
});

test("a frame behind the end is a gap and is not kept", () => {
  const { text, outcomes } = received([0, "Hello"], [7, "world"]);
  assert.equal(text, "Hello");
  assert.deepEqual(outcomes, ["appended", "gap"]);
});

test("after a gap, a resumed frame fills it", () => {
  assert.equal(received([0, "Hello"], [7, "world"], [5, ", world"]).text, "Hello, world");
});

test("a frame of an older writer is dropped", () => {
  const { text, outcomes } = received([0, "Hello", 2], [5, " from the past", 1]);
  assert.equal(text, "Hello");
  assert.deepEqual(outcomes, ["appended", "stale"]);
});

test("a newer writer replaces what the older one wrote from its offset on", () => {
  const { text } = received([0, "Hello, word", 1], [7, "world", 2], [12, "!", 2]);
  assert.equal(text, "Hello, world!");
});

test("a newer writer that has only been announced still replaces the older one's text", () => {
  const { reply } = received([0, "Hello, word", 1]);
  assert.ok(isCurrent(reply, { epoch: 2 }));
  place(reply, { type: "message", part: 0, offset: 0, content: "Good", epoch: 2 });
  assert.equal(reply.text, "Good");
});

test("a newer writer may leave a gap as well", () => {
  const { text, outcomes } = received([0, "Hello", 1], [9, "later", 2], [5, "o, and later", 2]);
  assert.deepEqual(outcomes, ["appended", "gap", "appended"]);
  assert.equal(text, "Helloo, and later");
});

test("a frame without an epoch belongs to the only writer", () => {
  const reply = newReply("r1");
  assert.equal(place(reply, { type: "message", part: 0, offset: 0, content: "Hi" }), "appended");
  assert.equal(place(reply, { type: "message", part: 0, offset: 2, content: "!" }), "appended");
  assert.equal(reply.text, "Hi!");
});

test("offsets count UTF-16 code units: a character outside the BMP is two", () => {
  assert.equal(received([0, "🌊"], [2, "波"], [3, "!"]).text, "🌊波!");
  assert.deepEqual(received([0, "🌊"], [3, "!"]).outcomes, ["appended", "gap"]);
});

test("a trim inside a surrogate pair joins the pair again", () => {
  assert.equal(received([0, "a\ud83c"], [1, "🌊b"]).text, "a🌊b");
});

test("an empty frame at the end is a repetition", () => {
  assert.deepEqual(received([0, "Hi"], [2, ""]).outcomes, ["appended", "repeated"]);
});

test("what is missing at the end is counted", () => {
  const { reply } = received([0, "Hello"]);
  assert.equal(missing(reply, { length: 12 }), 7);
  assert.equal(missing(reply, { length: 5 }), 0);
  assert.equal(missing(reply, {}), 0);
});

test("length and SHA-256 of the UTF-8 bytes prove the text", async () => {
  const { reply } = received([0, "早上好 🌅"]);
  const sha256 = createHash("sha256").update("早上好 🌅", "utf8").digest("hex");
  assert.equal(await prove(reply, { length: 6, sha256 }), "verified");
  assert.equal(await prove(reply, { length: 6, sha256: sha256.toUpperCase() }), "verified");
  assert.equal(await prove(reply, { length: 7, sha256 }), "different");
  assert.equal(await prove(reply, { length: 6, sha256: sha256.replace(/./, "x") }), "different");
  assert.equal(await prove(reply, { length: 6 }), "unchecked");
});

test("positions count all parts, of whatever type, and the hash proves them all", async () => {
  const reply = newReply("r1");
  const frames = [
    { type: "reasoning", part: 0, offset: 0, content: "Hm 🌅" },
    { type: "brand_new", part: 1, offset: 5, content: "??" },
    { type: "message", part: 2, offset: 7, content: "So" },
    { type: "reasoning", part: 0, offset: 3, content: "🌅" },
    { type: "message", part: 2, offset: 8, content: "o." },
  ];
  const outcomes = frames.map((frame) => place(reply, { epoch: 1, ...frame }));
  assert.deepEqual(outcomes, ["appended", "appended", "appended", "repeated", "appended"]);
  assert.deepEqual([reply.text, reply.length, reply.parts.length], ["So.", 10, 3]);
  const sha256 = createHash("sha256").update("Hm 🌅??So.", "utf8").digest("hex");
  assert.equal(await prove(reply, { length: 10, sha256 }), "verified");
});

test("a newer writer's parts replace the older one's from its offset on", () => {
  const reply = newReply("r1");
  place(reply, { type: "reasoning", part: 0, offset: 0, content: "Hm", epoch: 1 });
  place(reply, { type: "tool", part: 1, offset: 2, content: "{}", call: "a", epoch: 1 });
  place(reply, { type: "message", part: 2, offset: 4, content: "lost", epoch: 1 });
  place(reply, { type: "message", part: 1, offset: 2, content: "So", epoch: 2 });
  assert.deepEqual(
    reply.parts.map(({ type, content }) => [type, content]),
    [
      ["reasoning", "Hm"],
      ["message", "So"],
    ],
  );
  assert.deepEqual([reply.text, reply.length], ["So", 4]);
});

test("any cutting into frames, with repeats and losses that are resumed, gives the text", () => {
  const text = "One 🌊 after 另一个 wave 👨‍👩‍👧‍👦 comes in. ".repeat(20);
  for (let seed = 1; seed <= 200; seed += 1) assert.equal(shuffledDelivery(text, seed), text);
});

/** Delivers `text` in frames of which some come twice, overlap or get lost; a gap is answered by resuming. */
function shuffledDelivery(text, seed) {
  const reply = newReply("r1");
  let state = seed;
  const random = (below) => {
    state = (state * 48271) % 2147483647;
    return state % below;
  };
  for (let at = 0; reply.text.length < text.length; ) {
    const end = Math.min(text.length, at + 1 + random(12));
    const from = Math.max(0, at - random(6));
    const lost = random(5) === 0;
    if (
      !lost &&
      place(reply, { type: "message", part: 0, offset: from, content: text.slice(from, end), epoch: 1 }) === "gap"
    ) {
      at = reply.text.length;
      continue;
    }
    at = end >= text.length ? reply.text.length : end;
  }
  return reply.text;
}
