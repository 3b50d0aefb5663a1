import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

/** As much of an element as nobody looks at. */
class Node extends EventTarget {
  dataset = {};
  style = {};
  children = [];
  classList = { toggle() {} };

  get childElementCount() {
    return this.children.length;
  }

  get lastChild() {
    this.last ??= new Node();
    return this.last;
  }

  get firstChild() {
    return this.lastChild;
  }

  append(...nodes) {
    this.children.push(...nodes);
  }

  prepend() {}
  insertBefore() {}
  after() {}
  remove() {}
  replaceChildren() {}
  setAttribute() {}
  toggleAttribute() {}
}

globalThis.requestAnimationFrame = () => {};
globalThis.document = { nodeType: 9, createElement: () => new Node(), addEventListener() {}, implementation: {} };
// Enough for DOMPurify to begin; nothing is purified here.
globalThis.window = { document, Element: Node, NodeFilter: {} };

const { Chat } = await import("../../playground/chat.js");
const { Keep } = await import("../../playground/state/keep.js");
const { own, shared } = await import("../../playground/state/storage.js");

const LIMITS = { attachments: 10, text: 1000, image: 1000, file: 1000, name: 100 };

let keep;
let chat;
let socket;
/** What the relay has, by conversation. */
let told;
let run;
let cures;
/** The bytes of the file that was chosen are kept now. */
let read;
/** What it says to a message that comes by HTTP. */
let refusal;

/** The page is loaded (again). */
function load(conversation = null) {
  const heard = ["connected", "drawn", "changed", "drafted", "moved", "lagged", "frame", "configured"];
  const screen = Object.fromEntries(heard.map((name) => [name, () => {}]));
  const http = {
    isRejected: async () => false,
    async postMessage() {
      if (refusal) throw refusal;
    },
    async turns(asked, cursor = null) {
      const { turns, next = null } = cursor ? told[cursor] : { turns: told[asked] };
      if (turns) return Array.isArray(turns) ? { turns, next } : turns;
      throw Object.assign(new Error("There is no such conversation."), { code: "forbidden" });
    },
  };
  const config = { cures: { claude: cures }, limits: LIMITS, run };
  const blobs = { drop() {}, get: async () => null, keep: () => new Promise((resolve) => (read = resolve)) };
  const configure = async () => ({ ...config, cures: { claude: cures }, run });
  const about = { url: "ws://relay", device: null, http, keep, blobs, config, configure, conversation, screen };
  chat = new Chat("claude", about);
  chat.start("crk");
  return settled();
}

globalThis.WebSocket = class extends EventTarget {
  constructor() {
    super();
    socket = this;
  }

  send() {}
  close() {}

  says(frame) {
    this.dispatchEvent(Object.assign(new Event("message"), { data: JSON.stringify(frame) }));
  }
};

async function greeted() {
  socket.dispatchEvent(new Event("open"));
  socket.says({ type: "ready", content: "", conversation: chat.client.conversation });
  await settled();
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

function say(content) {
  chat.write(content);
  chat.send();
  return [...chat.client.exchanges.values()].at(-1);
}

const drafted = () => keep.draft("claude", chat.client.conversation).files.map(({ filename }) => filename);

const says = (frame) => socket.says({ conversation: chat.client.conversation, reply: "r1", epoch: 1, ...frame });

function turn(id, status, error = null) {
  return { id, content: "Hello", attachments: [], reply: { id: "r1", status, parts: [], error } };
}

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  for (const storage of [own, shared]) while (storage.length) storage.removeItem(storage.key(0));
  keep = new Keep(shared, () => {});
  told = {};
  run = "R1";
  cures = {};
  refusal = null;
});

test("a message that the model's service refuses is kept over a reload and a restart", async () => {
  await load("c1");
  await greeted();
  const { id } = say("Hello");
  says({ type: "typing", id });
  const error = { code: "upstream", reason: "key", retryable: false, content: "No." };
  says({ type: "error", id, ...error });
  assert.deepEqual(
    keep.messages("claude").map((kept) => [kept.id, kept.accepted]),
    [[id, true]],
  );
  told.c1 = [turn(id, "failed", error)];
  await load("c1");
  const [recalled] = chat.client.exchanges.values();
  assert.deepEqual([recalled.status, recalled.own], ["failed", true]);
  told = {};
  run = "R2";
  await load("c1");
  chat.withdraw(id);
  assert.deepEqual([chat.draft, keep.messages("claude")], ["Hello", []]);
});

test("what was accepted is kept over a reload until the relay tells that it is answered", async () => {
  await load("c1");
  await greeted();
  const { id } = say("Hello");
  says({ type: "typing", id });
  told.c1 = [turn(id, "complete")];
  await load("c1");
  assert.deepEqual(keep.messages("claude"), []);
});

test("what was accepted in a conversation that is left is not sent again after a restart", async () => {
  await load("c1");
  await greeted();
  says({ type: "typing", id: say("Hello").id });
  chat.open("c2", { turns: [turn("m1", "complete")], next: null });
  assert.deepEqual(keep.messages("claude"), []);
});

test("a draft in a conversation that was never answered is found again, reloaded or taken back", async () => {
  await load();
  const { conversation } = chat.client;
  await load();
  assert.equal(chat.client.conversation, conversation);
  chat.write("Half a thought");
  assert.equal(keep.begun("claude"), conversation);
  chat.withdraw(say("Whole").id);
  assert.deepEqual([chat.draft, keep.begun("claude")], ["Whole", conversation]);
});

test("a draft in a conversation that the relay has is no new chat, whoever has sent the message", async () => {
  await load("c1");
  await greeted();
  chat.write("Another one");
  says({ type: "user", id: "m1", content: "Said elsewhere" });
  assert.equal(keep.begun("claude"), null);
  chat.write("Longer");
  assert.equal(keep.begun("claude"), null);
  told.c2 = [turn("m2", "complete")];
  await load("c2");
  chat.write("Another one");
  assert.equal(keep.begun("claude"), null);
});

test("what is refused after its conversation was left is a draft there, once, and no new chat", async () => {
  told.c1 = [turn("m1", "complete")];
  await load("c1");
  refusal = { message: "No.", code: "forbidden", retryable: false };
  say("Hello");
  chat.open("c2");
  await greeted();
  chat.open("c1", { turns: told.c1, next: null });
  assert.deepEqual([chat.draft, keep.begun("claude")], ["Hello", null]);
  assert.deepEqual([...chat.client.exchanges.keys()], ["m1"]);
});

test("that the relay has forgotten a conversation is said once, and its draft is found again", async () => {
  const notices = mock.method(Node.prototype, "dispatchEvent", () => true).mock;
  told.c1 = [turn("m1", "complete")];
  await load("c1");
  chat.write("Another one");
  told = {};
  await chat.catchUp();
  await chat.catchUp();
  const said = notices.calls.filter(({ arguments: [{ detail }] }) => /does not have/.test(detail));
  assert.deepEqual([said.length, keep.begun("claude")], [1, "c1"]);
  mock.restoreAll();
});

test("a relay that takes the first message while it is asked what was said has forgotten nothing", async () => {
  const notices = mock.method(Node.prototype, "dispatchEvent", () => true).mock;
  await load("c1");
  await greeted();
  const { id } = say("Hello");
  const caughtUp = chat.catchUp();
  says({ type: "typing", id });
  await caughtUp;
  assert.deepEqual(
    notices.calls.filter(({ arguments: [{ detail }] }) => /does not have/.test(detail)),
    [],
  );
  mock.restoreAll();
});

test("what is said without having been typed leaves the draft alone", async () => {
  await load("c1");
  chat.write("Half a thought");
  chat.say("Tell me a long story");
  assert.deepEqual([chat.draft, keep.draft("claude", "c1").content], ["Half a thought", "Half a thought"]);
  assert.deepEqual(
    [...chat.client.exchanges.values()].map(({ content }) => content),
    ["Tell me a long story"],
  );
});

test("a file is in the draft once its bytes are kept, and stays there for the tab that has them", async () => {
  await load("c1");
  chat.tray.add([new File(["Hello"], "notes.txt")]);
  for (let turns = 0; turns < 50 && !read; turns += 1) await settled();
  assert.deepEqual([drafted(), chat.tray.isUploading], [[], true]);
  read();
  await settled();
  assert.deepEqual([drafted(), chat.tray.kept.length], [["notes.txt"], 0], "nobody finds its bytes here");
});

test("a message that another tab has taken back is not sent from here, whatever is shown", async () => {
  const said = { conversation: "c2", id: "m1", content: "Hello", attachments: [] };
  keep.saveMessage({ agent: "claude", run, ...said, wasSent: false, error: null });
  await load("c1");
  chat.droppedElsewhere("m1");
  assert.equal(chat.client.find("m1"), undefined);
});

test("a relay that was started again has cures of its own", async () => {
  await load("c1");
  await greeted();
  chat.client.loseNetwork();
  [run, cures] = ["R2", null];
  chat.client.wake();
  await greeted();
  assert.equal(chat.cures, null);
});

test("what came in meanwhile is said in one sentence, not read out", async () => {
  told.c1 = [turn("m1", "complete")];
  await load("c1");
  const dispatched = mock.method(Node.prototype, "dispatchEvent", () => true).mock;
  const reply = (id) => ({ id: `r-${id}`, status: "complete", parts: [] });
  told.c1 = ["m1", "m2", "m3"].map((id) => ({ ...turn(id, "complete"), reply: reply(id) }));
  await chat.catchUp();
  await chat.catchUp();
  assert.deepEqual(
    dispatched.calls.map(({ arguments: [{ detail }] }) => detail),
    ["2 messages came in meanwhile"],
  );
  mock.restoreAll();
});

test("a message that another device replaces while it is edited here is replaced by nothing else", async () => {
  const other = { ...turn("m2", "complete"), reply: { id: "r2", status: "complete", parts: [] } };
  told.c1 = [turn("m1", "complete"), other];
  await load("c1");
  await greeted();
  chat.edit("m2");
  says({ type: "user", id: "m3", reply: "r3", content: "From elsewhere", replaces: "m1" });
  assert.deepEqual([chat.editing, chat.draft], [null, "Hello"]);
  assert.deepEqual([...chat.client.exchanges.keys()], ["m3"]);
});

test("what was replaced while the page was away is followed by what is there now, and by nothing unsent that is lost", async () => {
  told.c1 = [turn("m1", "complete")];
  await load("c1");
  const unsent = say("Unsent");
  const now = { ...turn("m2", "complete"), reply: { id: "r2", status: "complete", parts: [] } };
  told.c1 = [now];
  await chat.catchUp();
  assert.deepEqual([...chat.client.exchanges.keys()], ["m2", unsent.id]);
});

test("a path that is another one from its beginning is read to its beginning", async () => {
  const other = (id) => ({ ...turn(id, "complete"), reply: { id: `r-${id}`, status: "complete", parts: [] } });
  told.c1 = { turns: [other("m1")], next: "before m1" };
  await load("c1");
  assert.equal(chat.earlier, "before m1");
  const { id } = say("Accepted, and nobody has heard of it");
  told.c1 = { turns: [other(id)], next: "before it" };
  told["before it"] = { turns: [other("m8")], next: "before m8" };
  told["before m8"] = { turns: [other("m7")] };
  await chat.catchUp();
  assert.deepEqual([...chat.client.exchanges.keys(), chat.earlier], ["m7", "m8", id, null]);
});
