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
    return (this.last ??= new Node());
  }

  get firstChild() {
    return this.lastChild;
  }

  append(...nodes) {
    this.children.push(...nodes);
  }

  prepend() {}
  after() {}
  remove() {}
  replaceChildren() {}
  setAttribute() {}
  toggleAttribute() {}
}

globalThis.requestAnimationFrame = () => {};
globalThis.document = { nodeType: 9, createElement: () => new Node(), addEventListener() {}, implementation: {} };
globalThis.window = { document, Element: Node, NodeFilter: {} }; // enough for DOMPurify to begin; nothing is purified here

const { Chat } = await import("../../../../infra/local/page/chat.js");
const { Keep } = await import("../../../../infra/local/page/keep.js");
const { own, shared } = await import("../../../../infra/local/page/storage.js");

let keep;
let chat;
let socket;
/** What the relay has, by conversation. */
let told;
let run;

/** The page is loaded (again). */
function load(conversation = null) {
  const screen = Object.fromEntries(["connected", "drawn", "changed", "drafted", "moved", "lagged", "frame"].map((name) => [name, () => {}]));
  const http = {
    isRejected: async () => false,
    async turns(asked) {
      if (told[asked]) return { turns: told[asked], next: null };
      throw Object.assign(new Error("There is no such conversation."), { code: "forbidden" });
    },
  };
  const config = { cures: { claude: {} }, limits: { attachments: 10 }, run };
  const blobs = { drop() {}, get: async () => null };
  const configure = async () => ({ ...config, run });
  chat = new Chat("claude", { url: "ws://relay", device: null, http, keep, blobs, config, configure, conversation, screen });
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

const says = (frame) => socket.says({ conversation: chat.client.conversation, reply: "r1", epoch: 1, ...frame });
const turn = (id, status, error = null) => ({ id, content: "Hello", attachments: [], reply: { id: "r1", status, text: "", error } });

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  for (const storage of [own, shared]) while (storage.length) storage.removeItem(storage.key(0));
  keep = new Keep(shared, () => {});
  told = {};
  run = "R1";
});

test("a message that the model's service refuses is kept until it is answered, over a reload and a restart", async () => {
  await load("c1");
  await greeted();
  const { id } = say("Hello");
  says({ type: "typing", id });
  const error = { code: "upstream", reason: "key", retryable: false, content: "No." };
  says({ type: "error", id, ...error });
  assert.deepEqual(keep.messages("claude").map((kept) => [kept.id, kept.accepted]), [[id, true]]);
  told.c1 = [turn(id, "failed", error)];
  await load("c1");
  assert.deepEqual([...chat.client.exchanges.values()].map(({ status, own: mine }) => [status, mine]), [["failed", true]]);
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
