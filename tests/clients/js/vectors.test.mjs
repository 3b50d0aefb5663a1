// The vectors of the protocol, which every client passes: protocol/vectors/README.md says how they are run.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { beforeEach, mock, test } from "node:test";

import { ChatRelayClient, isOpen } from "../../../clients/js/client.js";
import { Socket } from "./socket.mjs";

const VECTORS = new URL("../../../protocol/vectors/", import.meta.url);

globalThis.WebSocket = Socket;

let client;
let heard;
let ids;

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  Socket.opened = [];
  ids = new Map();
  heard = 0;
  client = new ChatRelayClient({ url: "ws://relay/v1", agent: "claude", conversation: "c1" });
  client.start("crk_key");
});

for (const file of readdirSync(VECTORS).filter((name) => name.endsWith(".json"))) {
  const { name, about, steps } = JSON.parse(readFileSync(new URL(file, VECTORS), "utf8"));
  test(`${name}: ${about}`, async () => {
    for (const [number, step] of steps.entries()) {
      await play(step);
      await nothingLeftToDo();
      check(step, `step ${number}`);
    }
  });
}

/** A client may hash what it has: a hash that is asked for later comes later. */
async function nothingLeftToDo() {
  for (let turn = 0; turn < 3; turn += 1) {
    await crypto.subtle.digest("SHA-256", new Uint8Array(1));
    await new Promise(setImmediate);
  }
}

async function play({ opens, closes, hears, reads, user, content, id, replaces }) {
  if (opens) open();
  if (closes) Socket.opened.at(-1).happen("close", { code: 1006 });
  if (hears) Socket.opened.at(-1).says(renamed(hears, ids));
  if (reads) await client.catchUp(async () => ({ ...reads, turns: reads.turns.map((turn) => renamed(turn, ids)) }));
  if (user === "sends") ids.set(id, client.send(content).id);
  if (user === "edits") ids.set(id, client.edit(ids.get(replaces), content).id);
  if (user === "regenerates") client.regenerate(ids.get(id));
  if (user === "retries") client.retry(ids.get(id));
  if (user === "cancels") client.cancel();
}

/** The client chooses when it connects again. */
function open() {
  const before = Socket.opened.length;
  while (heard > 0 && Socket.opened.length === before) mock.timers.tick(500);
  heard = 0;
  Socket.opened.at(-1).happen("open");
}

function check({ says = [], then, shows }, where) {
  const names = new Map([...ids].map(([name, id]) => [id, name]));
  const sent = Socket.opened
    .at(-1)
    .sent.slice(heard)
    .filter(({ action }) => action !== "ping");
  heard = Socket.opened.at(-1).sent.length;
  const told = sent.map((frame) => renamed(frame, names));
  assert.deepEqual(
    told.map((frame, index) => only(frame, says[index] ?? frame)),
    says,
    `${where}: says`,
  );
  if (shows)
    assert.deepEqual(
      [...client.exchanges.keys()].map((id) => names.get(id) ?? id),
      shows,
      `${where}: shows`,
    );
  if (then) checkState(then, where);
}

function checkState({ reply, message, status, position, parts, retryable }, where) {
  const all = [...client.exchanges.values()];
  const exchange = all.find((each) => (reply ? each.reply?.id === reply : each.id === ids.get(message)));
  const now = isOpen(exchange) ? (exchange.reply.length ? "writing" : "waiting") : exchange.status;
  const open = ["waiting", "writing"];
  assert.equal(open.includes(status) ? open.includes(now) : now === status, true, `${where}: ${now}, not ${status}`);
  if (retryable !== undefined) assert.equal(exchange.error.retryable, retryable, where);
  if (!reply) return;
  assert.equal(exchange.reply.length, position, `${where}: position`);
  const shown = exchange.reply.parts.map(({ type, content }) => ({ type, content }));
  assert.deepEqual(shown, parts, `${where}: parts`);
}

/** A frame without the fields that a client may add. */
function only(frame, wanted) {
  return Object.fromEntries(Object.keys(wanted).map((name) => [name, frame[name]]));
}

function renamed(frame, names) {
  const named = Object.entries(frame).filter(([name, id]) => ["id", "replaces"].includes(name) && names.has(id));
  return { ...frame, ...Object.fromEntries(named.map(([name, id]) => [name, names.get(id)])) };
}
