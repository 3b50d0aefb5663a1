import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { ChatRelayClient, isWhole, isWithdrawable } from "../../../clients/js/client.js";
import { Socket } from "./socket.mjs";

globalThis.WebSocket = Socket;

let client;
const socket = () => Socket.opened.at(-1);

function greeted() {
  socket().happen("open");
  socket().says({ type: "ready", content: "", heartbeat: 30 });
  socket().says({ type: "pong", content: "" });
}

const ofReply = (fields) => ({ conversation: "c1", reply: "r1", epoch: 1, content: "", ...fields });

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  Socket.opened = [];
  client = new ChatRelayClient({ url: "ws://relay/v1", agent: "claude", conversation: "c1" });
  client.start("crk_ключ+/");
});

test("it is online when the server is ready, not when the socket is open", () => {
  socket().happen("open");
  assert.deepEqual(socket().sent, [{ action: "hello", conversation: "c1" }]);
  assert.equal(client.state, "connecting");
  socket().says({ type: "ready", content: "" });
  assert.equal(client.state, "online");
});

test("a message that was written before the connection goes out when it is there", () => {
  const { id } = client.send("Hello");
  greeted();
  assert.deepEqual(socket().messages, [{ action: "send", id, conversation: "c1", agent: "claude", content: "Hello" }]);
});

test("a message that was not accepted is sent again after a reconnect, with the same id", () => {
  greeted();
  const { id } = client.send("Hello");
  socket().happen("close", { code: 1006 });
  assert.equal(client.state, "reconnecting");
  mock.timers.tick(500);
  greeted();
  assert.equal(Socket.opened.length, 2);
  assert.deepEqual(
    socket().messages.map(({ action, id }) => [action, id]),
    [["send", id]],
  );
});

test("a reply that is open is resumed from the text that is here", () => {
  greeted();
  const { id } = client.send("Hello");
  socket().says(ofReply({ type: "typing", id }));
  socket().says(ofReply({ type: "message", part: 0, offset: 0, content: "Good" }));
  socket().happen("close", { code: 1006 });
  mock.timers.tick(500);
  greeted();
  assert.deepEqual(socket().messages, [{ action: "resume", conversation: "c1", reply: "r1", offset: 4 }]);
});

test("a reply that the server could not resume leaves the text and a way to try again", () => {
  greeted();
  const exchange = client.send("Hello");
  socket().says(ofReply({ type: "typing", id: exchange.id }));
  socket().says(ofReply({ type: "message", part: 0, offset: 0, content: "Good" }));
  socket().says(ofReply({ type: "message", part: 0, offset: 9, content: "lost" }));
  assert.equal(socket().messages.at(-1).action, "resume");
  socket().says({ type: "error", reply: "r1", code: "internal", content: "Something.", retryable: true });
  assert.deepEqual([exchange.status, exchange.error.code, exchange.error.retryable], ["failed", "interrupted", true]);
  assert.equal(exchange.reply.text, "Good");
  client.retry(exchange.id);
  assert.equal(socket().messages.at(-1).id, exchange.id);
});

test("a reply ends with its proof", async () => {
  greeted();
  const exchange = client.send("Hello");
  socket().says(ofReply({ type: "typing", id: exchange.id }));
  socket().says(ofReply({ type: "message", part: 0, offset: 0, content: "Good" }));
  socket().says(ofReply({ type: "complete", length: 4, stop_reason: "end_turn" }));
  await Promise.resolve();
  assert.deepEqual([exchange.status, exchange.proof], ["complete", "unchecked"]);
});

test("an error with an id belongs to that message, one without to none", () => {
  greeted();
  const exchange = client.send("Hello");
  const notices = [];
  client.addEventListener("notice", ({ detail }) => notices.push(detail.content));
  socket().says({
    type: "error",
    id: exchange.id,
    code: "overloaded",
    retryable: true,
    retry_after: 5,
    content: "Busy.",
  });
  socket().says({ type: "error", code: "internal", retryable: true, content: "Something else." });
  assert.deepEqual([exchange.status, exchange.error.retryAt], ["failed", Date.now() + 5000]);
  assert.deepEqual(notices, ["Something else."]);
});

test("API Gateway's own frames are shown as errors", () => {
  greeted();
  const exchange = client.send("Hello");
  socket().says({ message: "Forbidden", connectionId: "abc", requestId: "def" });
  assert.deepEqual([exchange.status, exchange.error.content], ["failed", "The gateway says: Forbidden."]);
});

test("a message that nobody answers does not wait for ever", () => {
  greeted();
  const exchange = client.send("Hello");
  mock.timers.tick(20_000);
  assert.deepEqual([exchange.status, exchange.error.code], ["failed", "unanswered"]);
  socket().says(ofReply({ type: "typing", id: exchange.id }));
  assert.deepEqual([exchange.status, exchange.error], ["typing", null]);
});

test("the rest of a conversation that was left is not heard", () => {
  greeted();
  const { id } = client.send("Hello");
  client.converse("c2");
  assert.deepEqual(socket().sent.at(-1), { action: "hello", conversation: "c2" });
  socket().says(ofReply({ type: "typing", id }));
  socket().says(ofReply({ type: "message", part: 0, offset: 0, content: "Late" }));
  assert.equal(client.exchanges.size, 0);
});

test("a reply that was begun elsewhere is taken up from its beginning", () => {
  socket().happen("open");
  socket().says({ type: "ready", content: "", active: { reply: "r9" } });
  assert.deepEqual(socket().messages, [{ action: "resume", conversation: "c1", reply: "r9", offset: 0 }]);
});

test("a message longer than a frame goes the other way, and is answered here", async () => {
  const uploaded = [];
  client.upload = async (frame) => void uploaded.push(frame) ?? null;
  greeted();
  const exchange = client.send("漢".repeat(20_000));
  await Promise.resolve();
  assert.deepEqual(socket().messages, []);
  assert.deepEqual(
    uploaded.map(({ id, conversation }) => [id, conversation]),
    [[exchange.id, "c1"]],
  );
  socket().says(ofReply({ type: "typing", id: exchange.id }));
  socket().says(ofReply({ type: "message", part: 0, offset: 0, content: "Good" }));
  assert.deepEqual([exchange.status, exchange.reply.text], ["writing", "Good"]);
});

test("what was sent from here stays as it was written, with the files as they are kept here", () => {
  client.upload = async () => null;
  greeted();
  const exchange = client.send(LONG, [{ url: "/api/files/f1", kept: "k1" }]);
  socket().says(ofReply({ type: "user", id: exchange.id, content: LONG, attachments: [{ url: "/api/files/f1" }] }));
  assert.deepEqual(exchange.attachments, [{ url: "/api/files/f1", kept: "k1" }]);
});

test("an error is explained, whether it comes in a frame or from the server's store", () => {
  client.explain = (error) => ({ ...error, content: `${error.content} ${error.reason}` });
  greeted();
  const exchange = client.send("Hello");
  socket().says({ type: "error", id: exchange.id, code: "upstream", retryable: false, content: "No:", reason: "key" });
  const failed = turn("m1", "failed");
  const error = { code: "upstream", retryable: false, content: "No:", reason: "model" };
  const [kept] = client.recall([{ ...failed, reply: { ...failed.reply, error } }]);
  assert.deepEqual([exchange.error.content, kept.error.content, kept.error.retryable], ["No: key", "No: model", false]);
});

test("what the other way refuses is the message's error", async () => {
  client.upload = async () => ({ code: "too_large", content: "content: too long", retryable: false });
  greeted();
  const exchange = client.send("x".repeat(40_000));
  await Promise.resolve();
  await Promise.resolve();
  assert.deepEqual([exchange.status, exchange.error.code], ["failed", "too_large"]);
});

test("a message that waits its turn is answered when it has come", () => {
  greeted();
  const first = client.send("One");
  const second = client.send("Two");
  socket().says(ofReply({ type: "typing", id: first.id, epoch: 1 }));
  socket().says(ofReply({ type: "typing", id: second.id, reply: "r2", epoch: 0 }));
  assert.equal(client.writing, first);
  socket().says(ofReply({ type: "complete", epoch: 1, length: 0 }));
  socket().says(ofReply({ type: "typing", id: second.id, reply: "r2", epoch: 2 }));
  socket().says(ofReply({ type: "message", part: 0, reply: "r2", epoch: 2, offset: 0, content: "Good" }));
  assert.deepEqual([first.status, second.reply.text], ["complete", "Good"]);
  assert.equal(client.writing, second);
});

const part = (content) => ({ type: "message", content });
const turn = (id, status, text = "") => ({
  id,
  content: `Said ${id}`,
  attachments: [],
  reply: { id: `r-${id}`, status, parts: text ? [part(text)] : [] },
});

const page =
  (turns, next = null) =>
  async () => ({ turns, next });

test("a reply's parts are put together, and known again from the server's store", () => {
  greeted();
  const exchange = client.send("Hello");
  const tool = { type: "tool", part: 1, offset: 2, content: "{}", size: 2, call: "c1", name: "clock", by: "model" };
  const source = { type: "source", part: 4, offset: 8, content: "u", size: 1, title: "T", from: 6, to: 8 };
  socket().says(ofReply({ type: "typing", id: exchange.id }));
  socket().says(ofReply({ type: "reasoning", part: 0, offset: 0, content: "Hm" }));
  assert.equal(exchange.status, "typing");
  socket().says(ofReply(tool));
  socket().says(ofReply({ type: "brand_new", part: 2, offset: 4, content: "??" }));
  socket().says(ofReply({ type: "message", part: 3, offset: 6, content: "So" }));
  assert.equal(exchange.status, "writing");
  socket().says(ofReply(source));
  const told = exchange.reply.parts.map(({ number, ...rest }) => rest);
  assert.deepEqual(told, [
    { type: "reasoning", content: "Hm" },
    { type: "tool", content: "{}", size: 2, call: "c1", name: "clock", by: "model" },
    { type: "brand_new", content: "??" },
    { type: "message", content: "So" },
    { type: "source", content: "u", size: 1, title: "T", from: 6, to: 8 },
  ]);
  assert.deepEqual([exchange.reply.text, exchange.reply.length], ["So", 9]);
  const used = { model: "claude", usage: { input_tokens: 12, output_tokens: 9 }, cost: 0.000171 };
  const stored = { ...turn("m7", "complete"), reply: { id: "r7", status: "complete", parts: told, ...used } };
  const [again] = client.recall([stored]);
  assert.deepEqual(again.end, { stop_reason: "complete", ...used });
  assert.deepEqual(
    again.reply.parts.map(({ number, ...rest }) => rest),
    told,
  );
});

test("an error of a reply cuts back what is not kept, and brings what is missing", () => {
  greeted();
  const exchange = client.send("Hello");
  const broken = { type: "error", code: "interrupted", retryable: true, content: "Broken.", length: 5, sha256: "" };
  socket().says(ofReply({ type: "typing", id: exchange.id }));
  socket().says(ofReply({ type: "reasoning", part: 0, offset: 0, content: "Hm." }));
  socket().says(ofReply({ type: "message", part: 1, offset: 3, content: "S" }));
  socket().says(ofReply(broken));
  assert.deepEqual(socket().messages.at(-1), { action: "resume", conversation: "c1", reply: "r1", offset: 4 });
  socket().says(ofReply({ type: "message", part: 1, offset: 4, content: "o that was it" }));
  socket().says(ofReply(broken));
  assert.deepEqual([exchange.status, exchange.reply.text, exchange.reply.length], ["failed", "So", 5]);
});

test("what was said before is shown as it ended, and a reply that is owed is followed", () => {
  greeted();
  client.converse("c1");
  const past = client.recall([
    turn("m1", "complete", "Yes."),
    turn("m2", "interrupted", "Half"),
    turn("m3", "streaming"),
    turn("m4", "queued"),
  ]);
  assert.deepEqual(
    past.map(({ status, waits }) => [status, waits]),
    [
      ["complete", false],
      ["failed", false],
      ["typing", false],
      ["typing", true],
    ],
  );
  assert.deepEqual(
    socket().messages.map(({ action, reply, offset }) => [action, reply, offset]),
    [
      ["resume", "r-m3", 0],
      ["resume", "r-m4", 0],
    ],
  );
  client.recall([turn("m0", "cancelled", "Be")]);
  assert.deepEqual([...client.exchanges.keys()], ["m0", "m1", "m2", "m3", "m4"]);
});

test("a reply that is running when a conversation is opened is one exchange, whoever tells of it first", () => {
  socket().happen("open");
  socket().says({ type: "ready", content: "", active: "r-m1" });
  const past = client.recall([turn("m1", "streaming"), turn("m2", "queued")]);
  assert.deepEqual([...client.exchanges.values()], past);
  assert.deepEqual(
    past.map(({ id, content }) => [id, content]),
    [
      ["m1", "Said m1"],
      ["m2", "Said m2"],
    ],
  );
  assert.deepEqual(
    socket().messages.map(({ reply }) => reply),
    ["r-m1", "r-m2"],
  );
});

test("a device that has registered says its name, and what it has shown, once", () => {
  greeted();
  const exchange = client.send("Hello");
  socket().says(ofReply({ type: "typing", id: exchange.id }));
  socket().says(ofReply({ type: "message", part: 0, offset: 0, content: "Good" }));
  client.acknowledge();
  socket().says(ofReply({ type: "complete", length: 4 }));
  client.acknowledge();
  client.introduce("this page");
  assert.deepEqual(socket().sent.at(-1), { action: "hello", conversation: "c1", device: "this page" });
  client.acknowledge();
  client.acknowledge();
  const acknowledged = socket().sent.filter(({ action }) => action === "ack");
  assert.deepEqual(acknowledged, [{ action: "ack", reply: "r1", offset: 4 }]);
});

/** Longer than the frames that the client sends. */
const LONG = "x".repeat(40_000);
/** As many turns of the event loop as any of these promises takes. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

test("a message that comes back with its beginning only is kept as it was written", () => {
  client.upload = async () => null;
  greeted();
  const exchange = client.send(LONG);
  socket().says(ofReply({ type: "user", id: exchange.id, content: "xxx", truncated: true }));
  assert.deepEqual([exchange.content, exchange.truncated], [LONG, false]);
});

test("a message of which only the beginning is known is followed, and never sent", () => {
  greeted();
  socket().says(ofReply({ type: "user", id: "m1", content: "xxx", truncated: true }));
  const exchange = client.exchanges.get("m1");
  assert.deepEqual([exchange.content, exchange.truncated, isWhole(exchange)], ["xxx", true, false]);
  socket().happen("close", { code: 1006 });
  mock.timers.tick(500);
  greeted();
  assert.deepEqual(socket().messages, [{ action: "resume", conversation: "c1", reply: "r1", offset: 0 }]);
});

test("what was written offline in a conversation that was left goes out after the reconnect, in order", async () => {
  const uploaded = [];
  client.upload = async (frame) => void uploaded.push(frame) ?? null;
  greeted();
  socket().happen("close", { code: 1006 });
  client.send("One");
  client.send("Two");
  client.converse("c2");
  client.send("Three");
  mock.timers.tick(500);
  greeted();
  await settled();
  const said = ({ conversation, content }) => [conversation, content];
  assert.deepEqual(uploaded.map(said), [
    ["c1", "One"],
    ["c1", "Two"],
  ]);
  assert.deepEqual(socket().messages.map(said), [["c2", "Three"]]);
  client.converse("c1");
  assert.equal(client.exchanges.size, 0, "the server has them now");
});

test("what could not be sent is there again when its conversation is", async () => {
  client.upload = async () => ({ code: "unreached", content: "No.", retryable: true });
  greeted();
  const exchange = client.send("Hello");
  client.converse("c2");
  await settled();
  client.converse("c1");
  assert.deepEqual([...client.exchanges.values()], [exchange]);
  assert.deepEqual(
    socket().messages.map(({ id }) => id),
    [exchange.id, exchange.id],
  );
  client.recall([turn(exchange.id, "complete", "Yes.")]);
  assert.deepEqual([exchange.status, exchange.reply.text], ["complete", "Yes."]);
});

test("what a deleted conversation had to send is not sent", async () => {
  const uploaded = [];
  client.upload = async (frame) => void uploaded.push(frame) ?? null;
  client.send("Hello");
  client.converse("c2");
  client.send("Hello");
  for (const deleted of ["c1", "c2"]) client.forget(deleted);
  client.converse("c3");
  greeted();
  await settled();
  assert.deepEqual([uploaded, socket().messages], [[], []]);
});

test("a conversation that is opened before the first is ready does not keep the client waiting", () => {
  socket().happen("open");
  client.converse("c2");
  client.send("Hello");
  socket().says({ type: "ready", content: "", conversation: "c1", active: "r1" });
  assert.equal(client.state, "online");
  assert.deepEqual(
    socket()
      .sent.filter(({ action }) => action === "hello")
      .at(-1).conversation,
    "c2",
  );
  assert.deepEqual(
    socket().messages.map(({ action }) => action),
    ["send"],
  );
});

test("nothing of a conversation that was left is shown in the next one", async () => {
  const shown = [];
  client.upload = async () => ({ code: "forbidden", content: "No.", retryable: false });
  greeted();
  const [answered, waiting, long] = ["One", "Two", LONG].map((content) => client.send(content));
  socket().says(ofReply({ type: "typing", id: answered.id }));
  socket().says(ofReply({ type: "complete", length: 0 }));
  for (const type of ["exchange", "notice"]) client.addEventListener(type, ({ detail }) => shown.push(detail));
  client.converse("c2");
  socket().says({ type: "error", id: waiting.id, code: "overloaded", retryable: true, content: "Busy." });
  await settled();
  mock.timers.tick(20_000);
  for (const { id } of [answered, waiting, long]) client.retry(id);
  assert.deepEqual(shown, []);
});

test("a reply that cannot be resumed because it is gone ends where it broke off", () => {
  greeted();
  const notices = [];
  client.addEventListener("notice", ({ detail }) => notices.push(detail));
  const [exchange] = client.recall([turn("m1", "streaming", "Half")]);
  const refused = { type: "error", reply: "r-m1", code: "forbidden", retryable: false };
  socket().says({ ...refused, content: "There is no such reply." });
  assert.deepEqual([exchange.status, exchange.reply.text, exchange.error.retryable], ["failed", "Half", false]);
  assert.deepEqual(notices, []);
});

test("what nobody has answered goes out again with the next connection, and what was refused does not", async () => {
  client.upload = async () => ({ code: "unreached", content: "No.", retryable: true });
  greeted();
  const [refused, long, silent] = ["One", LONG, "Three"].map((content) => client.send(content));
  socket().says({ type: "error", id: refused.id, code: "forbidden", retryable: false, content: "No such file." });
  await settled();
  mock.timers.tick(20_000);
  assert.deepEqual(
    [silent, long].map(({ error }) => error.code),
    ["unanswered", "unreached"],
  );
  assert.equal(socket().sent.at(-1).action, "ping", "the socket may be dead");
  mock.timers.tick(10_000);
  mock.timers.tick(500);
  client.upload = async () => null;
  greeted();
  assert.deepEqual(
    socket().messages.map(({ id }) => id),
    [],
    "the long one first",
  );
  await settled();
  assert.deepEqual(
    socket().messages.map(({ id }) => id),
    [silent.id],
  );
  assert.deepEqual(
    [silent, long, refused].map(({ status }) => status),
    ["sent", "sent", "failed"],
  );
});

test("a message that was accepted before is one exchange, though `resumed` is the first that is heard of it", () => {
  greeted();
  const exchange = client.send("Hello");
  socket().says(ofReply({ type: "resumed", id: exchange.id, offset: 0 }));
  socket().says(ofReply({ type: "message", part: 0, offset: 0, content: "Good" }));
  assert.deepEqual([...client.exchanges.values()], [exchange]);
  assert.deepEqual([exchange.status, exchange.reply.text], ["writing", "Good"]);
});

test("stop without a connection is said with the next one", () => {
  greeted();
  const exchange = client.send("Hello");
  socket().says(ofReply({ type: "typing", id: exchange.id }));
  socket().happen("close", { code: 1006 });
  client.cancel();
  mock.timers.tick(500);
  greeted();
  assert.deepEqual(
    socket().messages.map(({ action }) => action),
    ["cancel", "resume"],
  );
});

test("a message is taken back if the server has refused it, or cannot have it", () => {
  const waiting = client.send("One");
  assert.equal(client.withdraw(waiting.id), waiting);
  const sent = client.send("Two");
  greeted();
  assert.equal(client.withdraw(sent.id), null);
  socket().happen("close", { code: 1006 });
  mock.timers.tick(250);
  assert.equal(client.withdraw(sent.id), null, "nobody knows whether it has arrived");
  mock.timers.tick(250);
  greeted();
  mock.timers.tick(20_000);
  assert.equal(client.withdraw(sent.id), null, "nor does anybody after 20 seconds");
  socket().says({ type: "error", id: sent.id, code: "invalid_message", retryable: false, content: "No." });
  assert.equal(client.withdraw(sent.id), sent);
  assert.deepEqual([waiting.status, sent.status, client.exchanges.size], ["withdrawn", "withdrawn", 0]);
});

const kept = (id, conversation, fields) => ({
  id,
  conversation,
  content: `Said ${id}`,
  attachments: [],
  error: null,
  wasSent: false,
  ...fields,
});

test("what was sent before the page was loaded is sent under its id, or shown as it was refused", async () => {
  const uploaded = [];
  client.upload = async (frame) => void uploaded.push(frame) ?? null;
  client.restore([
    kept("m1", "c1"),
    kept("m2", "c2"),
    kept("m3", "c1", { error: { code: "forbidden", content: "No.", retryable: false } }),
  ]);
  greeted();
  await settled();
  assert.deepEqual(
    socket().messages.map(({ id }) => id),
    ["m1"],
  );
  assert.deepEqual(
    uploaded.map(({ id, conversation }) => [id, conversation]),
    [["m2", "c2"]],
  );
  assert.deepEqual(
    [...client.exchanges.values()].map(({ id, status }) => [id, status]),
    [
      ["m1", "sent"],
      ["m3", "failed"],
    ],
  );
});

test("every message that is sent from here is told of, from its first status to its last", async () => {
  const statuses = [];
  client.addEventListener("status", ({ detail: { own, id, status } }) => own && statuses.push([id, status]));
  client.upload = async () => null;
  const { id } = client.send("Hello");
  greeted();
  socket().says(ofReply({ type: "typing", id }));
  socket().says(ofReply({ type: "complete", length: 0 }));
  const other = client.send("Leave me");
  client.converse("c2");
  await settled();
  assert.deepEqual(statuses, [
    ...["queued", "sent", "typing", "complete"].map((status) => [id, status]),
    ...["queued", "sent", "left"].map((status) => [other.id, status]),
  ]);
});

test("what was said meanwhile is put where it belongs, and what is here is not doubled", async () => {
  greeted();
  client.recall([turn("m1", "complete", "Yes."), turn("m2", "complete", "Yes.")]);
  socket().happen("close", { code: 1006 });
  const waiting = client.send("Waiting");
  const told = [
    turn("m1", "complete", "Yes."),
    turn("m5", "complete", "Before."),
    turn("m2", "complete", "Yes."),
    turn("m6", "streaming"),
  ];
  assert.deepEqual(
    (await client.catchUp(page(told))).map(({ id }) => id),
    ["m1", "m5", "m2", "m6", waiting.id],
  );
  assert.deepEqual([...client.exchanges.keys()], ["m1", "m5", "m2", "m6", waiting.id]);
  await client.catchUp(page([...told, turn(waiting.id, "complete", "Here.")]));
  assert.deepEqual([client.exchanges.size, waiting.status, waiting.reply.text], [5, "complete", "Here."]);
});

test("turns say nothing of what was before the first of them, nor of what began since they were asked for", async () => {
  greeted();
  client.recall(["m0", "m1", "m2"].map((id) => turn(id, "complete", "Yes.")));
  let answer;
  const caughtUp = client.catchUp(() => new Promise((resolve) => (answer = resolve)));
  socket().says({ conversation: "c1", type: "typing", id: "m3", reply: "r3", epoch: 1, content: "" });
  answer({ turns: [turn("m1", "complete", "Yes.")], next: "before m1" });
  await caughtUp;
  assert.deepEqual([...client.exchanges.keys()], ["m0", "m1", "m3"]);
});

test("what takes the place of a message that is not here is told by the turns, from their first on", async () => {
  greeted();
  client.recall([turn("m7", "complete", "Yes."), turn("m8", "complete", "Yes.")]);
  const told = [page([turn("m9", "streaming")]), page([turn("m1", "complete", "Yes."), turn("m9", "streaming")])];
  for (const ask of told) {
    let caughtUp = null;
    client.addEventListener("shown", () => (caughtUp = client.catchUp(ask)), { once: true });
    socket().says({ ...ofReply({ type: "user", id: "m9", reply: "r-m9" }), replaces: "m2" });
    assert.equal((await caughtUp).at(-1).id, "m9");
    assert.equal(client.find("m7"), undefined);
    client.converse("c1");
    client.recall([turn("m7", "complete", "Yes."), turn("m8", "complete", "Yes.")]);
  }
});

test("turns that were asked for before something was replaced are asked for again", async () => {
  const [before, after] = [[turn("m1", "complete", "Yes."), turn("m2", "complete", "Yes.")], [turn("m9", "streaming")]];
  for (const replaced of [
    () => socket().says({ ...ofReply({ type: "user", id: "m9", reply: "r-m9" }), replaces: "m1" }),
    () => socket().says(ofReply({ type: "typing", id: "m1", reply: "r-m9" })),
  ]) {
    client.converse("c1");
    greeted();
    client.recall(before);
    const answers = [];
    const caughtUp = client.catchUp(() => new Promise((resolve) => answers.push(resolve)));
    replaced();
    answers[0]({ turns: before, next: null });
    await settled();
    answers[1]({ turns: after, next: null });
    assert.deepEqual(
      (await caughtUp).map(({ id }) => id),
      ["m9"],
    );
  }
});

test("what a message that was not sent yet takes the place of does not come back, unless it was refused", async () => {
  greeted();
  const turns = [turn("m1", "complete", "Yes."), turn("m2", "complete", "Yes."), turn("m3", "streaming")];
  client.recall(turns);
  socket().happen("close", { code: 1006 });
  const edit = client.edit("m2", "Changed");
  const shown = async () => (await client.catchUp(page(turns))).map(({ id }) => id);
  assert.deepEqual(await shown(), ["m1", edit.id]);
  client.regenerate("m1");
  assert.deepEqual(await shown(), ["m1", edit.id]);
  mock.timers.tick(500);
  greeted();
  socket().says({ type: "error", reply: "r-m1", code: "forbidden", retryable: false, content: "No." });
  socket().says({ type: "error", id: edit.id, code: "forbidden", retryable: false, content: "No." });
  assert.deepEqual(await shown(), ["m1", "m2", "m3", edit.id]);
  socket().says(ofReply({ type: "message", reply: "r-m3", part: 0, offset: 0, content: "Heard" }));
  assert.equal(client.find("m3").reply.text, "Heard");
});

test("a reply that is written here though another one has taken its place gives way, and is not heard any more", async () => {
  greeted();
  const exchange = client.send("Hello");
  socket().says(ofReply({ type: "typing", id: exchange.id }));
  socket().says(ofReply({ type: "message", part: 0, offset: 0, content: "Half" }));
  const anew = { id: "r2", status: "streaming", parts: [] };
  await client.catchUp(page([{ ...turn(exchange.id), reply: anew }]));
  assert.deepEqual(socket().messages.at(-1), { action: "resume", conversation: "c1", reply: "r2", offset: 0 });
  socket().says(ofReply({ type: "resumed", id: exchange.id, offset: 4 }));
  socket().says(ofReply({ type: "message", part: 0, offset: 4, content: " of it" }));
  assert.deepEqual([client.exchanges.size, exchange.reply.id, exchange.reply.text], [1, "r2", ""]);
});

test("a reply that is still written though its place was taken is not shown by whoever joins", async () => {
  client.addEventListener("shown", () => client.catchUp(page([turn("m1", "complete", "Yes.")])));
  socket().happen("open");
  socket().says({ type: "ready", content: "", active: "r9" });
  await settled();
  socket().says(ofReply({ type: "message", reply: "r9", part: 0, offset: 0, content: "Late" }));
  assert.deepEqual([...client.exchanges.keys()], ["m1"]);
});

test("another reply, asked for elsewhere, is acknowledged like the first", async () => {
  client.device = "d1";
  greeted();
  const { id } = client.send("Hello");
  for (const reply of ["r1", "r2"]) {
    socket().says(ofReply({ type: "typing", id, reply }));
    socket().says(ofReply({ type: "complete", reply, length: 0 }));
    client.acknowledge();
    assert.deepEqual(socket().messages.at(-1), { action: "ack", reply, offset: 0 });
  }
});

test("a reply that broke off here and was asked for again elsewhere is taken as it is now", async () => {
  greeted();
  const exchange = client.send("Hello");
  socket().says(ofReply({ type: "typing", id: exchange.id }));
  socket().says(ofReply({ type: "error", code: "upstream", retryable: true, content: "Broken.", length: 0 }));
  await client.catchUp(
    page([
      { ...turn(exchange.id, "complete", "Whole."), reply: { id: "r2", status: "complete", parts: [part("Whole.")] } },
    ]),
  );
  assert.deepEqual([exchange.status, exchange.reply.text, exchange.error], ["complete", "Whole.", null]);
});

test("a reply that broke off while the turns were on their way is resumed, and breaks off here as well", async () => {
  greeted();
  const exchange = client.send("Hello");
  const broken = { type: "error", code: "upstream", retryable: true, content: "Broken." };
  socket().says(ofReply({ type: "typing", id: exchange.id }));
  socket().says(ofReply({ ...broken, length: 0 }));
  await client.catchUp(
    page([{ ...turn(exchange.id, "streaming"), reply: { id: "r1", status: "streaming", parts: [part("Ha")] } }]),
  );
  assert.deepEqual(socket().messages.at(-1), { action: "resume", conversation: "c1", reply: "r1", offset: 2 });
  socket().says(ofReply({ type: "resumed", id: exchange.id, offset: 2 }));
  socket().says(ofReply({ type: "message", part: 0, offset: 2, content: "lf" }));
  socket().says(ofReply({ ...broken, length: 4 }));
  assert.deepEqual([exchange.status, exchange.reply.text, exchange.error.code], ["failed", "Half", "upstream"]);
});

test("a server that has begun anew gets once more what it owed, with its files, and what waited behind it", async () => {
  const prepared = [];
  client.isAnew = async () => true;
  client.prepare = async (exchange) => {
    prepared.push(exchange.attachments);
    exchange.attachments = [{ url: "/api/files/new" }];
    return null;
  };
  const [owed, behind] = [client.send("One", [{ url: "/api/files/old" }]), client.send("Two")];
  socket().happen("open");
  client.isAnew = async () => false;
  socket().says({ type: "ready", content: "" });
  await settled();
  socket().says(ofReply({ type: "typing", id: owed.id }));
  socket().says(ofReply({ type: "message", part: 0, offset: 0, content: "Half" }));
  socket().happen("close", { code: 1006 });
  mock.timers.tick(500);
  client.isAnew = async () => true;
  greeted();
  await settled();
  assert.deepEqual(prepared, [[{ url: null }]]);
  socket().says(ofReply({ type: "typing", id: owed.id, reply: "r2" }));
  const sent = socket().messages.map(({ action, id, attachments }) => [action, id, attachments?.[0].url]);
  assert.deepEqual(sent, [
    ["send", owed.id, "/api/files/new"],
    ["send", behind.id, undefined],
  ]);
  assert.equal(owed.reply.length, 0);
});

test("files that cannot be uploaded are the message's error, and hold back nothing else", async () => {
  client.prepare = async () => ({ code: "lost_file", content: "No.", retryable: false });
  greeted();
  const [lost, other] = [client.send("One", [{ url: null }]), client.send("Two")];
  await settled();
  assert.deepEqual([lost.status, lost.error.code, other.status], ["failed", "lost_file", "sent"]);
});

test("a message whose reply has failed for good is taken back, unless there is a part of the reply", () => {
  greeted();
  const [refused, broken] = ["One", "Two"].map((content) => client.send(content));
  socket().says(ofReply({ type: "typing", id: refused.id }));
  socket().says(ofReply({ type: "typing", id: broken.id, reply: "r2" }));
  socket().says(ofReply({ type: "message", part: 0, reply: "r2", offset: 0, content: "Half" }));
  const failed = { type: "error", code: "upstream", retryable: false, content: "No." };
  socket().says(ofReply({ ...failed, length: 0 }));
  socket().says(ofReply({ ...failed, reply: "r2", length: 4 }));
  assert.deepEqual([refused, broken].map(isWithdrawable), [true, false]);
  client.converse("c2");
  client.converse("c1");
  assert.equal(client.withdraw(refused.id), refused);
});

test("a server that has begun anew has none of the files of a reply that has failed either", async () => {
  greeted();
  const exchange = client.send("One", [{ kept: "f1", url: "/api/files/old" }]);
  socket().says(ofReply({ type: "typing", id: exchange.id }));
  socket().says(ofReply({ type: "error", code: "overloaded", retryable: true, content: "Busy.", length: 0 }));
  client.isAnew = async () => true;
  socket().happen("close", { code: 1006 });
  mock.timers.tick(500);
  greeted();
  await settled();
  assert.deepEqual(exchange.attachments, [{ kept: "f1", url: null }]);
});

test("a message that was accepted is the server's when its conversation is left", () => {
  const statuses = [];
  greeted();
  const { id } = client.send("Hello");
  socket().says(ofReply({ type: "typing", id }));
  client.addEventListener("status", ({ detail }) => statuses.push(detail.status));
  client.addEventListener("exchange", () => assert.fail("nothing of it is shown in the next one"));
  client.converse("c2");
  client.converse("c1");
  assert.deepEqual([statuses, client.exchanges.size], [["left"], 0]);
});

test("a message that is taken back while its files are uploaded holds back nothing behind it", () => {
  client.prepare = () => new Promise(() => {});
  greeted();
  const [first, second] = [client.send("One", [{ url: null }]), client.send("Two")];
  assert.deepEqual(socket().messages, []);
  client.withdraw(first.id);
  assert.deepEqual(
    socket().messages.map(({ id }) => id),
    [second.id],
  );
});

test("whoever has stopped a reply and asks for it again wants the next one", async () => {
  greeted();
  const exchange = client.send("Hello");
  socket().says(ofReply({ type: "typing", id: exchange.id }));
  socket().happen("close", { code: 1006 });
  client.cancel();
  client.isAnew = async () => true;
  mock.timers.tick(500);
  greeted();
  await settled();
  client.isAnew = async () => false;
  client.retry(exchange.id);
  socket().says(ofReply({ type: "typing", id: exchange.id, reply: "r2" }));
  socket().happen("close", { code: 1006 });
  mock.timers.tick(500);
  greeted();
  await settled();
  assert.deepEqual(
    socket().messages.map(({ action }) => action),
    ["resume"],
  );
});

test("what was left and could not be delivered goes out a moment later, without a new connection", async () => {
  const errors = [{ code: "internal", content: "No.", retryable: true }, null];
  client.upload = async () => errors.shift();
  greeted();
  const exchange = client.send("Hello");
  client.converse("c2");
  await settled();
  assert.equal(exchange.status, "sent");
  mock.timers.tick(1_000);
  await settled();
  assert.equal(exchange.status, "left");
});

test("a reply that is running when a page joins is one exchange, though its message is heard of later", async () => {
  socket().happen("open");
  socket().says({ type: "ready", content: "", active: "r9" });
  socket().says(ofReply({ type: "user", reply: "r9", id: "m9", content: "Asked" }));
  socket().says(ofReply({ type: "typing", reply: "r9", id: "m9" }));
  assert.deepEqual(
    [...client.exchanges.values()].map(({ id, content }) => [id, content]),
    [["m9", "Asked"]],
  );
  await client.catchUp(page([{ ...turn("m9", "streaming"), reply: { id: "r9", status: "streaming", parts: [] } }]));
  assert.deepEqual([...client.exchanges.keys()], ["m9"]);
});

const MINUTE_MS = 60_000;
/** A key is good for so many minutes. */
const goodFor = (minutes) => ({
  timestamp: new Date(0).toISOString(),
  good_until: new Date(minutes * MINUTE_MS).toISOString(),
});
const ready = (fields) => socket().says({ type: "ready", content: "", heartbeat: 480, ...fields });
const auths = () => socket().sent.filter(({ action }) => action === "auth");
const expired = (fields) =>
  socket().says({ type: "error", code: "expired", content: "No.", retryable: false, ...fields });

test("a key is renewed before it runs out, by the server's clock", async () => {
  client.renew = async () => "second";
  socket().happen("open");
  ready(goodFor(10));
  socket().says({ type: "pong", content: "" });
  const exchange = client.send("Hello");
  socket().says(ofReply({ type: "typing", id: exchange.id }));
  const states = [];
  client.addEventListener("state", ({ detail }) => states.push(detail.state));
  const before = socket().sent.length;
  for (let half = 0; half < 18; half += 1) {
    mock.timers.tick(MINUTE_MS / 2);
    socket().says({ type: "pong", content: "" });
  }
  assert.deepEqual(auths(), []);
  mock.timers.tick(MINUTE_MS / 2);
  await settled();
  assert.deepEqual(auths(), [{ action: "auth", token: "second" }]);
  ready(goodFor(20));
  assert.deepEqual(states, ["renewing", "online"]);
  assert.deepEqual(
    socket()
      .sent.slice(before)
      .map(({ action }) => action)
      .filter((action) => action !== "ping"),
    ["auth", "resume"],
  );
});

test("a key that has run out is asked for once, and the next socket comes by the new one", async () => {
  const asked = [];
  client.renew = () => new Promise((resolve) => asked.push(resolve));
  greeted();
  const first = client.send("Hello");
  expired({ id: first.id });
  client.send("More");
  expired({});
  assert.deepEqual([client.state, asked.length, socket().messages.length], ["renewing", 1, 1]);
  socket().happen("close", { code: 1001 });
  asked[0]("second");
  await settled();
  assert.deepEqual([client.state, socket().protocols[1]], ["connecting", "bearer.c2Vjb25k"]);
  greeted();
  assert.deepEqual(
    socket().messages.map(({ id }) => id),
    [first.id],
  );
});

test("whoever is being asked for a key when it runs out is not asked again, and a silent server is left", async () => {
  const asked = [];
  client.renew = () => new Promise((resolve) => asked.push(resolve));
  socket().happen("open");
  ready(goodFor(1));
  socket().says({ type: "pong", content: "" });
  mock.timers.tick(MINUTE_MS / 2);
  socket().says({ type: "pong", content: "" });
  expired({});
  assert.deepEqual([client.state, asked.length, auths().length], ["renewing", 1, 0]);
  asked[0]("second");
  await settled();
  assert.equal(auths().length, 1);
  mock.timers.tick(10_000);
  assert.equal(client.state, "reconnecting");
  mock.timers.tick(500);
  assert.equal(socket().protocols[1], "bearer.c2Vjb25k");
});

test("a key that comes when the user has left is not used", async () => {
  let give;
  client.renew = () =>
    new Promise((resolve) => {
      give = resolve;
    });
  greeted();
  expired({});
  client.stop();
  give("second");
  await settled();
  assert.deepEqual([client.state, Socket.opened.length], ["stopped", 1]);
});

test("whoever has no other key is asked to sign in", async () => {
  client.renew = async () => null;
  greeted();
  client.send("Hello");
  expired({});
  await settled();
  assert.equal(client.state, "rejected");
});

test("where another key cannot be had just now it is asked for again", async () => {
  const answers = [Promise.reject(new Error("no network")), Promise.resolve("second")];
  client.renew = () => answers.shift();
  greeted();
  expired({});
  await settled();
  assert.deepEqual([client.state, auths().length], ["renewing", 0]);
  mock.timers.tick(5_000);
  await settled();
  assert.deepEqual(auths(), [{ action: "auth", token: "second" }]);
});

test("without another key a message that comes too late is refused for good", () => {
  greeted();
  const exchange = client.send("Hello");
  expired({ id: exchange.id });
  assert.deepEqual([exchange.status, exchange.error.retryable, client.state], ["failed", false, "online"]);
});
