import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { backoff, base64url, Connection } from "../../../clients/js/connection.js";
import { Socket } from "./socket.mjs";

globalThis.WebSocket = Socket;

let connection;
let isAwaited;
/** What the connection is told of a key that no socket would open with. */
let judgement;
const socket = () => Socket.opened.at(-1);
const settled = () => new Promise((resolve) => setImmediate(resolve));

/** The server is there, and answers the first ping. */
function online(heartbeatS) {
  socket().happen("open");
  connection.ready(heartbeatS);
  socket().says({ type: "pong", content: "" });
}

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  Socket.opened = [];
  isAwaited = false;
  judgement = Promise.resolve(false);
  connection = new Connection("ws://relay/v1?agent=claude", {
    hello: () => ({ action: "hello", conversation: "c1" }),
    heed: () => {},
    isAwaited: () => isAwaited,
    isRejected: () => judgement,
    emit: () => {},
  });
  connection.start("crk_ключ+/");
});

test("the key travels as a subprotocol in base64url", () => {
  assert.equal(socket().url, "ws://relay/v1?agent=claude");
  assert.deepEqual(socket().protocols, ["chatrelay.v1", `bearer.${base64url("crk_ключ+/")}`]);
  assert.match(socket().protocols[1], /^bearer\.[A-Za-z0-9_-]+$/);
});

test("waiting grows, stays below half a minute and is never in step", () => {
  assert.deepEqual(
    [0, 1, 2, 10].map((attempt) => backoff(attempt, 1)),
    [500, 1000, 2000, 30_000],
  );
  assert.deepEqual(
    [0, 10].map((attempt) => backoff(attempt, 0)),
    [250, 15_000],
  );
});

test("a server that does not get ready in time is tried again", () => {
  socket().happen("open");
  mock.timers.tick(10_000);
  assert.equal(connection.state, "reconnecting");
  mock.timers.tick(500);
  assert.deepEqual([connection.state, Socket.opened.length], ["connecting", 2]);
});

test("a ping without a pong means that the socket is dead", () => {
  online(30);
  mock.timers.tick(30_000);
  assert.equal(socket().sent.at(-1).action, "ping");
  mock.timers.tick(9_999);
  assert.equal(connection.state, "online");
  mock.timers.tick(1);
  assert.equal(connection.state, "reconnecting");
});

/** How many pings went out while so much time passed, each of them answered. */
function pings(forMs) {
  const before = socket().sent.length;
  for (let passed = 0; passed < forMs; passed += 1_000) {
    mock.timers.tick(1_000);
    if (socket().sent.at(-1)?.action === "ping") socket().says({ type: "pong", content: "" });
  }
  return socket()
    .sent.slice(before)
    .filter(({ action }) => action === "ping").length;
}

test("whoever waits for nothing pings as rarely as the server says", () => {
  online(480);
  assert.equal(pings(479_000), 0);
  assert.equal(pings(481_000), 2);
});

test("whoever waits for a reply looks after the socket", () => {
  online(480);
  mock.timers.tick(60_000);
  isAwaited = true;
  assert.equal(pings(90_000), 3);
  isAwaited = false;
  assert.ok(pings(400_000) <= 1);
});

test("a connection is renewed before the gateway closes it, when no reply is awaited", () => {
  online(8_000);
  isAwaited = true;
  pings(115 * 60_000);
  assert.equal(Socket.opened.length, 1);
  isAwaited = false;
  mock.timers.tick(5_000);
  assert.deepEqual([Socket.opened.length, connection.state], [2, "connecting"]);
});

test("a wake does not wait for the time that is set", () => {
  online(30);
  socket().happen("close", { code: 1006 });
  connection.wake();
  assert.equal(connection.state, "connecting");
});

test("a wake does not trust a socket that looks open", () => {
  online(480);
  socket().sent.length = 0;
  connection.wake();
  assert.deepEqual(socket().sent, [{ action: "ping" }]);
});

test("a device without a network is offline at once", () => {
  online(30);
  connection.loseNetwork();
  assert.equal(connection.state, "reconnecting", "Node does not say that it is offline");
  mock.timers.tick(500);
  assert.equal(connection.state, "connecting");
});

test("a wrong key ends the trying", async () => {
  judgement = Promise.resolve(true);
  socket().happen("close", { code: 1006 });
  await settled();
  assert.equal(connection.state, "rejected");
  mock.timers.tick(60_000);
  assert.equal(connection.state, "rejected");
});

test("what is found out late of a key that is no longer used rejects no other", async () => {
  let judge;
  judgement = new Promise((resolve) => (judge = resolve));
  socket().happen("close", { code: 1006 });
  connection.start("right");
  judge(true);
  await settled();
  assert.equal(connection.state, "connecting");
});

test("nothing that waits outlives its socket", () => {
  const called = [];
  online(30);
  connection.after("later", 1_000, () => called.push("later"));
  socket().happen("close", { code: 1006 });
  mock.timers.tick(1_000);
  assert.deepEqual(called, []);
});

test("a socket that was hung up is not listened to", () => {
  const heeded = [];
  connection = new Connection("ws://relay/v1", {
    hello: () => ({}),
    heed: (frame) => heeded.push(frame),
    isAwaited: () => false,
    emit: () => {},
  });
  connection.start("crk");
  const old = socket();
  old.says({ type: "ready" });
  connection.start("crk");
  old.says({ type: "ready" });
  assert.equal(heeded.length, 1);
});
