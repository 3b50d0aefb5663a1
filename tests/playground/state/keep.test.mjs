import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { changedElsewhere, Keep } from "../../../playground/state/keep.js";
import { Keys } from "../../../playground/state/keys.js";

/** As much of `Storage` as there is of it to the page. */
class Items {
  items = new Map();
  room = Infinity;
  getItem = (key) => this.items.get(key) ?? null;
  removeItem = (key) => void this.items.delete(key);
  key = (index) => [...this.items.keys()][index] ?? null;

  setItem(key, value) {
    if (value.length > this.room) throw new DOMException("full", "QuotaExceededError");
    this.items.set(key, value);
  }

  get length() {
    return this.items.size;
  }
}

let storage;
let keep;
let complaints;

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["Date"] });
  storage = new Items();
  complaints = 0;
  keep = new Keep(storage, () => (complaints += 1));
});

const message = (id, fields) => ({ id, agent: "claude", conversation: "c1", content: id, attachments: [], ...fields });
const draft = (content, files = [], isNew = false) => ({ content, files, isNew });

test("each conversation with each agent has a draft of its own, and an empty one is none", () => {
  keep.saveDraft("claude", "c1", draft("One"));
  keep.saveDraft("codex", "c1", draft("Two", [{ kept: "f1" }]));
  assert.deepEqual(
    ["One", "Two", ""],
    [
      ["claude", "c1"],
      ["codex", "c1"],
      ["claude", "c2"],
    ].map((at) => keep.draft(...at).content),
  );
  keep.saveDraft("claude", "c1", draft(""));
  assert.equal(storage.length, 1);
});

test("a conversation that was begun and never sent is found again, the latest first", () => {
  keep.saveDraft("claude", "c1", draft("Here", [], true));
  mock.timers.tick(1);
  keep.saveDraft("claude", "c2", draft("There", [], true));
  mock.timers.tick(1);
  keep.saveDraft("claude", "c3", draft("An answer"));
  assert.deepEqual([keep.begun("claude"), keep.begun("codex")], ["c2", null]);
});

test("messages are kept in the order in which they were sent, whatever happens to them later", () => {
  for (const id of ["m2", "m1", "m3"]) {
    keep.saveMessage(message(id));
    mock.timers.tick(1);
  }
  keep.saveMessage(message("m2", { accepted: true }));
  keep.dropMessage("m3");
  assert.deepEqual(
    keep.messages("claude").map(({ id }) => id),
    ["m2", "m1"],
  );
});

test("a conversation that was deleted takes its drafts and messages with it", () => {
  keep.saveDraft("claude", "c1", draft("One"));
  keep.saveMessage(message("m1"));
  keep.saveMessage(message("m2", { conversation: "c2" }));
  keep.forget("c1");
  assert.deepEqual([keep.draft("claude", "c1").content, keep.messages("claude").map(({ id }) => id)], ["", ["m2"]]);
});

test("the files of everything that is kept are known", () => {
  keep.saveDraft("claude", "c1", draft("", [{ kept: "f1" }]));
  keep.saveMessage(message("m1", { attachments: [{ kept: "f2" }] }));
  assert.deepEqual([...keep.files()].sort(), ["f1", "f2"]);
});

test("a storage that is full or damaged is no crash", () => {
  storage.room = 10;
  keep.saveDraft("claude", "c1", draft("Too much"));
  storage.items.set("chatrelay.message.m1", "{");
  assert.deepEqual([complaints, keep.draft("claude", "c1").content, keep.messages("claude")], [1, "", []]);
});

test("what another tab has changed is told by its key", () => {
  keep.saveDraft("claude", 'a."conversation', draft("One"));
  keep.saveMessage(message("m1"));
  const told = [...storage.items.keys(), "theme"].map((key) => changedElsewhere({ key, newValue: null }));
  assert.deepEqual(told, [{ agent: "claude", conversation: 'a."conversation' }, { message: "m1", isGone: true }, {}]);
});

test("a key stays in its tab; one that another machine's page has accepted is there in the next tab, until it is refused", () => {
  const shared = new Items();
  const keys = new Keys(new Items(), shared);
  keys.give("mine", false);
  keys.accept("mine");
  assert.deepEqual([keys.known, new Keys(new Items(), shared).known], ["mine", null]);
  keys.give("theirs", true);
  assert.equal(new Keys(new Items(), shared).known, null, "nobody has accepted it yet");
  keys.accept("theirs");
  assert.equal(new Keys(new Items(), shared).known, "theirs");
  keys.refuse("theirs");
  assert.deepEqual([keys.known, shared.length], [null, 0]);
});
