// The vectors of the protocol, which every client passes: protocol/vectors/README.md says how they are run.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { beforeEach, mock, test } from "node:test";

import { ChatRelayClient, isOpen } from "../../../clients/js/client.js";
import { Socket } from "./socket.mjs";

const VECTORS = new URL("../../../protocol/vectors/", import.meta.url);

globalThis.WebSocket = Socket;

const hashes = [];
const digest = crypto.subtle.digest.bind(crypto.subtle);
crypto.subtle.digest = (...asked) => {
  hashes.push(digest(...asked));
  return hashes.at(-1);
};

let client;
let heard;
let ids;

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  Socket.opened = [];
  ids = new Map();
  heard = 0;
  client = new ChatRelayClient({ url: "ws://relay/v1", agent: "claude", conversation: "c1", renew: async () => "t2" });
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

/** A client may hash what it has, which takes a thread its time. */
async function nothingLeftToDo() {
  do {
    await Promise.all(hashes.splice(0));
    await new Promise(setImmediate);
  } while (hashes.length);
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
    .filter(({ action }) => !["ping", "ack"].includes(action));
  heard = Socket.opened.at(-1).sent.length;
  const told = sorted(sent.map((frame) => renamed(frame, names)));
  const wanted = sorted(says);
  assert.deepEqual(
    told.map((frame, index) => only(frame, wanted[index] ?? frame)),
    wanted,
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

/** The frames of one step have no order: the relay handles them in any. */
function sorted(frames) {
  const name = ({ action, id, reply }) => [action, id, reply].join();
  return frames.toSorted((one, other) => name(one).localeCompare(name(other)));
}

/** A frame without the fields that a client may add. */
function only(frame, wanted) {
  return Object.fromEntries(Object.keys(wanted).map((name) => [name, frame[name]]));
}

function renamed(frame, names) {
  const named = Object.entries(frame).filter(([name, id]) => ["id", "replaces"].includes(name) && names.has(id));
  return { ...frame, ...Object.fromEntries(named.map(([name, id]) => [name, names.get(id)])) };
}
