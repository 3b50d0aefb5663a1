/**
 * A client of Chat Relay's WebSocket, protocol version 1.
 *
 *                        socket opens: `hello`
 *    start() ┌────────────┐    then `ready`    ┌────────┐
 *   ────────►│ connecting ├───────────────────►│ online │
 *            └──▲──────┬──┘                    └───┬────┘
 *               │      │ refused, closed, silent   │ closed, no `pong`, 2 hours nearly over
 *     time over,│      ▼                           │
 *     or sooner │   ┌──────────────┐               │
 *     by wake() └───┤ reconnecting │◄──────────────┘
 *                   │  (offline)   │      ┌──────────┐
 *                   └──────────────┘      │ rejected │ the key is wrong: only start(key) leaves it
 *                                         └──────────┘
 *
 * `offline` is `reconnecting` on a device that says it has no network. `stopped` is before start and after stop.
 *
 * What is sent is kept as an exchange: the user's message and the reply to it.
 *
 *   queued ─► sent ─► typing ─► writing ─► complete
 *      │         └───────┴─────────┴─────► failed ─► (retry, same id) queued
 *      └─► (withdraw) withdrawn              └─► (withdraw, if it was refused for good) withdrawn
 *
 * Whatever is `queued` or `sent`, or failed because nobody could be reached, goes out again after a reconnect with the
 * same id, which is safe. What the server has accepted (`typing`, `writing`) is resumed from the text that is here; if
 * the server has begun anew and knows nothing of it, it is sent again. What was said before comes in by `recall`, what
 * was said meanwhile by `catchUp`.
 *
 * A socket shows one conversation. When that is left for another, what it had `queued` or `sent` goes out by `upload`,
 * now or after the next reconnect, and then is `left`, as what was accepted is at once: its reply is not followed here.
 * What could not be sent, or has failed, is there again when one comes back.
 *
 * Events: `state`, `frame`, `exchange`, `status`, `shown`, `notice`, `lag`; each is a CustomEvent whose `detail` is
 * described at the place where it is dispatched.
 */

import { isCurrent, missing, newReply, place, prove } from "./assembly.js";
import { hex } from "./random.js";

export const FRAME_BYTES = 31 * 1024;

const UNSENT = { code: "too_large", content: "This message is not for the socket.", retryable: false };
const BROKE_OFF = { code: "interrupted", content: "The answer broke off here.", retryable: true };
/** Nobody knows whether the server has the message: it goes out again with the next connection. */
const UNHEARD = ["unanswered", "unreached"];
const HANDSHAKE_MS = 10_000;
const PONG_MS = 10_000;
const ANSWER_MS = 20_000;
const HEARTBEAT_S = 480;
/** While a reply is awaited, a socket that is dead must not go unnoticed for longer. */
const WATCHFUL_MS = 30_000;
// API Gateway closes every connection after 2 hours. A reply that is being written may use up the difference.
const RENEW_MS = 115 * 60_000;
const LIFETIME_MS = 119 * 60_000;
const RENEW_AGAIN_MS = 5_000;

/** Exponential, never in step with other clients: between half and all of 0.5 s, 1 s, 2 s, … 30 s. */
export function backoff(attempt, random = Math.random()) {
  return Math.min(30_000, 500 * 2 ** attempt) * (0.5 + random / 2);
}

/** Base64url without padding: a subprotocol's name may not contain `+`, `/` or `=`. */
export function base64url(text) {
  const binary = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

export class ChatRelayClient extends EventTarget {
  state = "stopped";
  /** By message id, in the order in which they began. */
  exchanges = new Map();

  /** By message id, of conversations that were left: what the server may not have. */
  #left = new Map();
  #socket = null;
  #timers = new Map();
  #attempt = 0;
  /** How often in turn something that was left could not be delivered. */
  #undelivered = 0;
  #heartbeatMs = HEARTBEAT_S * 1000;
  #pingedAt = null;
  #connectedAt = 0;

  /**
   * @param {object} options
   * @param {string} options.url of the WebSocket, without query
   * @param {string} options.agent "claude" or "codex"
   * @param {string} options.conversation
   * @param {string | null} [options.device] the name under which this device has registered for push notifications
   * @param {(key: string) => Promise<boolean>} [options.isRejected] asked when a socket would not open, because
   *   browsers do not tell scripts why
   * @param {(frame: object) => Promise<object | null>} [options.upload] the other way for a message that is longer than
   *   a frame may be, or of a conversation that was left: the error to show, or null
   * @param {(exchange: object) => Promise<object | null>} [options.prepare] uploads the files of a message that have no
   *   url (yet, or any more): the error to show, or null
   * @param {() => Promise<boolean>} [options.isAnew] asked with every connection: whether the server has begun anew
   *   since the last one, and has forgotten everything
   * @param {(error: object) => object} [options.explain] an error frame as it is shown
   */
  constructor({
    url,
    agent,
    conversation,
    device = null,
    isRejected = async () => false,
    upload = async () => UNSENT,
    prepare = async () => UNSENT,
    isAnew = null,
    explain = (error) => error,
  }) {
    super();
    this.url = url;
    this.agent = agent;
    this.conversation = conversation;
    this.device = device;
    this.isRejected = isRejected;
    this.upload = upload;
    this.prepare = prepare;
    this.isAnew = isAnew;
    this.explain = explain;
  }

  start(key) {
    this.key = key;
    this.#attempt = 0;
    this.#connect();
  }

  stop() {
    this.#hangUp();
    this.#become("stopped");
  }

  /** Call when the network or the user comes back: no use in waiting any longer, or in trusting an old socket. */
  wake() {
    if (this.state === "reconnecting" || this.state === "offline") this.#connect();
    else if (this.state === "online") this.#ping();
  }

  /** Call when the device says that it has no network: nothing more comes over this socket. */
  loseNetwork() {
    if (this.state === "online" || this.state === "connecting") this.#lost();
  }

  /** Leave this conversation for another. Replies of the old one are not followed any more; nothing unsent is lost. */
  converse(conversation) {
    const leaving = [...this.exchanges.values()];
    this.conversation = conversation;
    this.exchanges.clear();
    leaving.forEach((exchange) => this.#leave(exchange));
    if (this.state === "online") this.#hello();
    for (const exchange of this.#left.values()) if (exchange.conversation === conversation) this.#comeBackTo(exchange);
    this.#flush();
  }

  /** The conversation was deleted: what it had to send is not sent. */
  forget(conversation) {
    for (const { id, conversation: its } of this.#left.values()) if (its === conversation) this.#left.delete(id);
    if (conversation === this.conversation) this.exchanges.clear();
  }

  #leave(exchange) {
    this.#clear(`answer ${exchange.id}`);
    if (isOpen(exchange)) this.#change(exchange, { status: "left" }); // the server answers it, whoever looks
    else if (isUnanswered(exchange)) this.#left.set(exchange.id, exchange);
  }

  #comeBackTo(exchange) {
    this.#left.delete(exchange.id);
    this.exchanges.set(exchange.id, exchange);
    if (exchange.status === "sent") exchange.status = "queued";
    this.#changed(exchange);
  }

  /** Take in what was sent from here before the page was loaded, as `status` has told of it. */
  restore(messages) {
    for (const { conversation, id, content, attachments, error, wasSent } of messages) {
      if (this.exchanges.has(id) || this.#left.has(id)) continue;
      const status = error ? "failed" : "queued";
      const exchange = { ...newExchange(conversation, id, content, status, attachments), own: true, error, wasSent };
      if (conversation !== this.conversation) this.#left.set(id, exchange);
      else this.exchanges.set(id, exchange);
      this.#changed(exchange);
    }
    this.#flush();
  }

  /** The exchange with that message, here or in a conversation that was left; or undefined. */
  find(id) {
    return this.exchanges.get(id) ?? this.#left.get(id);
  }

  /** Takes a message back. @returns its exchange, or null if the server may have it */
  withdraw(id) {
    const exchange = this.find(id);
    if (!exchange || !isWithdrawable(exchange)) return null;
    this.exchanges.delete(id);
    this.#left.delete(id);
    this.#change(exchange, { status: "withdrawn" });
    this.#flush(); // what was behind it waited for its files
    return exchange;
  }

  /**
   * Take in what was said before all that is here: turns, as `GET /api/conversations/{id}/messages` gives them. A
   * reply that is still owed is followed.
   *
   * @returns their exchanges, in their order
   */
  recall(turns) {
    return this.#take(turns, (past, present) => [...past, ...present.filter((exchange) => !past.includes(exchange))]);
  }

  /**
   * Take in what was said meanwhile: the latest turns, back to one that is here or to the first.
   *
   * @returns all exchanges, in their order
   */
  catchUp(turns) {
    this.#take(turns, inOrder);
    return [...this.exchanges.values()];
  }

  #take(turns, arranged) {
    const present = [...this.exchanges.values()];
    const followed = new Set(present.filter(({ reply }) => reply));
    const told = turns.map((turn) => this.#known(turn) ?? this.#recalled(turn));
    const fresh = told.filter((exchange) => !followed.has(exchange));
    this.exchanges = new Map(arranged(told, present).map((exchange) => [exchange.id, exchange]));
    if (this.state === "online") fresh.filter(isOpen).forEach((exchange) => this.#resume(exchange));
    return told;
  }

  #recalled(turn) {
    const exchange = recalled(this.conversation, turn);
    return exchange.error ? { ...exchange, error: this.explain(exchange.error) } : exchange;
  }

  /** The exchange of a turn that is here: sent meanwhile, or told of by `ready`, which does not say what was asked. */
  #known(turn) {
    const { id, content, attachments = [], reply } = turn;
    const known = this.#asking({ id, reply: reply.id });
    if (!known) return null;
    const { status, own, wasSent, sentAt } = known;
    const asked = { content, attachments: own ? known.attachments : attachments, truncated: false };
    // Of a message of which nothing was heard here, or that was asked for again elsewhere, the server knows more.
    const knowsMore = !known.reply || (status === "failed" && !hasFailed(reply.status));
    Object.assign(known, knowsMore ? { ...this.#recalled(turn), own, wasSent, sentAt } : {}, asked);
    if (known.status !== status) this.#emit("status", known);
    return known;
  }

  /** @param {{url}[]} attachments files that were uploaded; with one, `content` may be empty */
  send(content, attachments = []) {
    const exchange = { ...newExchange(this.conversation, hex(16), content, "queued", attachments), own: true };
    this.#begin(exchange);
    this.#flush();
    return exchange;
  }

  /** Send the same message, with the same id, once more, if it has failed. */
  retry(id) {
    const exchange = this.exchanges.get(id);
    if (exchange?.status !== "failed") return;
    this.#change(exchange, { status: "queued", ...anew() });
    this.#flush();
  }

  /** The exchange whose reply is being written, or comes next; or undefined. */
  get writing() {
    return [...this.exchanges.values()].find((exchange) => isOpen(exchange) && exchange.reply);
  }

  /** The device has registered, under that name; or, with null, it wants no pushes any more. */
  introduce(device) {
    this.device = device;
    if (this.state === "online") this.#hello();
  }

  /** Call when everything that is here can be seen: what has ended is not pushed to this device then. */
  acknowledge() {
    if (this.device === null || this.state !== "online") return;
    for (const exchange of this.exchanges.values()) {
      if (exchange.status !== "complete" || exchange.acknowledged) continue;
      exchange.acknowledged = true;
      const { id, text } = exchange.reply;
      this.#transmit({ action: "ack", reply: id, offset: text.length });
    }
  }

  /** Stop the model, now or with the next connection; what it has written stays. */
  cancel() {
    const exchange = this.writing;
    if (exchange && this.state === "online") this.#cancel(exchange);
    else if (exchange) this.#change(exchange, { stops: true });
  }

  #cancel(exchange) {
    exchange.stops = false;
    this.#transmit({ action: "cancel", reply: exchange.reply.id });
  }

  // --- the socket

  #connect() {
    this.#hangUp();
    this.#become("connecting");
    this.#connectedAt = performance.now();
    const protocols = ["chatrelay.v1", `bearer.${base64url(this.key)}`];
    const socket = new WebSocket(`${this.url}?agent=${this.agent}`, protocols);
    this.#socket = socket;
    // A socket that was hung up may still report; nobody listens to it then.
    const listen = (type, heed) => socket.addEventListener(type, (event) => socket === this.#socket && heed(event));
    listen("open", () => this.#hello());
    listen("message", (event) => this.#receive(event.data));
    listen("close", (event) => this.#lost(event.code));
    this.#after("handshake", HANDSHAKE_MS, () => this.#lost());
  }

  #hello() {
    const device = this.device === null ? {} : { device: this.device };
    this.#transmit({ action: "hello", conversation: this.conversation, ...device });
  }

  #hangUp() {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#pingedAt = null;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  async #lost(code) {
    const neverOpened = this.state === "connecting" && code !== undefined;
    this.#hangUp();
    const delay = backoff(this.#attempt);
    this.#attempt += 1;
    const offline = globalThis.navigator?.onLine === false;
    this.#become(offline ? "offline" : "reconnecting", Date.now() + delay);
    this.#after("reconnect", delay, () => this.#connect());
    const { key } = this;
    if (neverOpened && (await this.isRejected(key)) && key === this.key && this.state !== "online") this.#reject();
  }

  #reject() {
    this.#hangUp();
    this.#become("rejected");
  }

  #become(state, retryAt = null) {
    this.state = state;
    this.#emit("state", { state, retryAt }); // retryAt: milliseconds since 1970, or null
  }

  #transmit(frame) {
    const text = JSON.stringify(frame);
    this.#socket.send(text);
    this.#emit("frame", { direction: "out", frame, text });
  }

  // --- staying alive

  #ready(frame) {
    if (this.state === "online" || !this.isAnew) return this.#greeted(frame);
    const socket = this.#socket;
    this.isAnew().then((anew) => {
      if (socket !== this.#socket) return;
      if (anew) this.#beginAnew();
      this.#greeted(frame);
    });
  }

  #greeted(frame) {
    const elsewhere = this.#isElsewhere(frame);
    if (this.state !== "online") {
      if (elsewhere) this.#hello(); // the conversation was opened after the first one
      this.#online(frame.heartbeat ?? HEARTBEAT_S);
    }
    if (elsewhere) return;
    this.#emit("shown", { conversation: this.conversation }); // from now on all that is said in it comes in
    const active = frame.active?.reply ?? frame.active;
    // If a message has just been sent again, the active reply may be the one to it: `typing` will tell.
    const sent = [...this.exchanges.values()].some((exchange) => exchange.status === "sent");
    if (active && !sent && !this.#ofReply(active)) this.#resume(this.#foreign(active));
  }

  /** The server knows neither of the replies that it owed, nor of any file. */
  #beginAnew() {
    for (const exchange of [...this.exchanges.values(), ...this.#left.values()]) {
      if (isOpen(exchange) && isWhole(exchange) && !exchange.stops) {
        this.#change(exchange, { status: "queued", reply: null, waits: false, wasSent: false, ...anew() });
      } else if (isOpen(exchange)) {
        this.#fail(exchange, { ...BROKE_OFF, retryable: isWhole(exchange) });
      }
      if (isUnanswered(exchange)) exchange.attachments = exchange.attachments.map((file) => ({ ...file, url: null }));
    }
  }

  #online(heartbeatS) {
    this.#attempt = 0;
    this.#heartbeatMs = heartbeatS * 1000;
    this.#clear("handshake");
    this.#become("online");
    this.#ping();
    this.#after("renew", RENEW_MS, () => this.#renew());
    for (const exchange of this.exchanges.values()) this.#takeUp(exchange);
    this.#flush();
  }

  #ping() {
    if (this.#pingedAt !== null) return;
    this.#pingedAt = performance.now();
    this.#transmit({ action: "ping" });
    this.#after("pong", PONG_MS, () => this.#lost());
  }

  #pong() {
    if (this.#pingedAt === null) return;
    this.#clear("pong");
    this.#emit("lag", { ms: performance.now() - this.#pingedAt });
    this.#pingedAt = null;
    this.#after("ping", WATCHFUL_MS, () => this.#beat(WATCHFUL_MS));
  }

  /** The server's heartbeat is for those who wait for nothing. `quietMs` is how long ago the last `pong` came. */
  #beat(quietMs) {
    const awaits = [...this.exchanges.values()].some(isOpen);
    if (awaits || quietMs >= this.#heartbeatMs) this.#ping();
    else this.#after("ping", WATCHFUL_MS, () => this.#beat(quietMs + WATCHFUL_MS));
  }

  #renew() {
    const old = performance.now() - this.#connectedAt > LIFETIME_MS;
    const busy = [...this.exchanges.values()].some(isOpen);
    if (busy && !old) this.#after("renew", RENEW_AGAIN_MS, () => this.#renew());
    else this.#connect();
  }

  // --- what comes

  #receive(text) {
    const frame = parse(text);
    this.#emit("frame", { direction: "in", frame, text });
    if (frame?.type === undefined) this.#gatewayError(frame, text);
    else this.#heed(frame);
  }

  #heed(frame) {
    if (frame.type === "ready") return this.#ready(frame);
    if (this.#isElsewhere(frame)) return; // the rest of a conversation that was left
    switch (frame.type) {
      case "pong":
        return this.#pong();
      case "error":
        return this.#error(frame);
      case "typing":
        return this.#typing(frame);
      case "user":
        return this.#user(frame);
      case "thinking":
      case "tool":
      case "message":
      case "resumed":
      case "complete":
        return this.#ofAReply(frame);
    }
    // Types of a later protocol are none of our business.
  }

  #isElsewhere({ conversation }) {
    return Boolean(conversation) && conversation !== this.conversation;
  }

  #typing(frame) {
    const exchange = this.#asking(frame) ?? this.#open(frame.id, null, "typing");
    if (frame.reply && exchange.reply?.id !== frame.reply) exchange.reply = newReply(frame.reply);
    if (exchange.reply && !isCurrent(exchange.reply, frame)) return;
    exchange.resuming = false; // a reply that waits its turn comes by itself
    const status = exchange.reply?.text ? "writing" : "typing";
    this.#change(exchange, { status, waits: frame.epoch === 0, error: null });
  }

  /** Of a message that is longer than a frame may be only the beginning comes: who has more keeps it. */
  #user({ id, reply, content, attachments = [], truncated = false }) {
    const exchange = this.#asking({ id, reply }) ?? this.#open(id, null, "typing");
    if (reply) exchange.reply ??= newReply(reply); // so that it is resumed, not sent again
    if (exchange.own) return;
    if (!truncated || exchange.content === null) this.#change(exchange, { content, attachments, truncated });
  }

  #ofAReply(frame) {
    if (!frame.reply) return;
    const exchange = this.#ofReply(frame.reply) ?? this.#asked(frame) ?? this.#foreign(frame.reply);
    if (exchange.status === "complete" || !isCurrent(exchange.reply, frame)) return;
    if (frame.type === "message") this.#message(exchange, frame);
    else if (frame.type === "complete") this.#complete(exchange, frame);
    else if (frame.type === "resumed") exchange.resuming = false;
    else this.#aside(exchange, frame);
  }

  /** The message that `resumed` names: of one that was accepted before, that may be the first that is heard. */
  #asked({ id, reply }) {
    const exchange = this.exchanges.get(id);
    if (exchange) this.#change(exchange, { status: "typing", reply: newReply(reply), ...anew() });
    return exchange;
  }

  /** What the model does beside its text; thoughts come in pieces. */
  #aside(exchange, { type, content }) {
    const last = exchange.asides.at(-1);
    const at = performance.now();
    if (type === "thinking" && exchange.aside === "thinking") {
      last.content += content;
      last.endedAt = at;
    } else {
      exchange.asides.push({ type, content, beganAt: at, endedAt: at });
    }
    this.#change(exchange, { aside: type });
  }

  #message(exchange, frame) {
    const known = exchange.reply.text.length;
    const outcome = place(exchange.reply, frame);
    if (outcome === "gap") return this.#resume(exchange);
    exchange.resuming = false;
    if (outcome !== "appended") return;
    exchange.arrivals.push({ at: performance.now(), chars: exchange.reply.text.length - known });
    this.#change(exchange, { status: "writing", waits: false, aside: null, error: null });
  }

  async #complete(exchange, frame) {
    const askedAlready = exchange.end !== null;
    exchange.end = frame;
    if (missing(exchange.reply, frame) && !askedAlready) return this.#resume(exchange);
    this.#change(exchange, { status: "complete", aside: null, endedAt: performance.now(), resuming: false });
    this.#change(exchange, { proof: await prove(exchange.reply, frame) });
  }

  // --- what goes wrong

  #error(frame) {
    const resuming = [...this.exchanges.values()].find((exchange) => exchange.resuming);
    const exchange = this.exchanges.get(frame.id) ?? this.#ofReply(frame.reply);
    if (frame.code === "invalid_message" && !frame.id && resuming) this.#cannotResume(exchange ?? resuming);
    else if (exchange) this.#fail(exchange, frame);
    else if (["unauthorized", "expired"].includes(frame.code)) this.#reject();
    else if (frame.id) return; // of a message of a conversation that was left
    else if (resuming && !frame.reply) this.#fail(resuming, { ...BROKE_OFF, retryable: frame.retryable });
    else this.#emit("notice", this.explain(frame)); // an error frame that belongs to no message
  }

  /** API Gateway's own frames have no type: `{"message": "Forbidden", "connectionId", "requestId"}`. */
  #gatewayError(frame, text) {
    const sentence = frame?.message ?? text;
    const error = { code: "gateway", content: `The gateway says: ${sentence}.`, retryable: true };
    const waiting = [...this.exchanges.values()].filter((exchange) => exchange.status === "sent");
    if (waiting.length) this.#fail(waiting.at(-1), error);
    else this.#emit("notice", error);
  }

  #fail(exchange, frame) {
    const error = this.explain(frame);
    const retryAt = Date.now() + (error.retry_after ?? 0) * 1000;
    this.#change(exchange, {
      status: "failed",
      aside: null,
      resuming: false,
      endedAt: performance.now(),
      error: { ...error, retryAt },
    });
  }

  #unanswered(exchange) {
    if (exchange.status !== "sent") return;
    const content = "No answer yet. If this message was accepted before, its reply may be finished already.";
    this.#fail(exchange, { code: "unanswered", content, retryable: true });
    this.#ping(); // the socket may be dead
  }

  #cannotResume(exchange) {
    this.#fail(exchange, {
      code: "cannot_resume",
      content: "The connection broke here, and this server cannot resume a reply yet. What arrived is kept.",
      retryable: isWhole(exchange),
    });
  }

  // --- exchanges

  /** Everything that waits, in order. */
  #flush() {
    if (this.state !== "online") return;
    this.#deliver();
    for (const exchange of this.exchanges.values()) {
      if (exchange.status !== "queued") continue;
      if (lacksFiles(exchange)) return void this.#prepare(exchange); // what is behind it stays behind it
      this.#post(exchange);
    }
  }

  async #prepare(exchange) {
    if (exchange.preparing) return;
    exchange.preparing = true;
    const error = await this.prepare(exchange);
    exchange.preparing = false;
    if (!this.#isHere(exchange)) return;
    if (error) this.#fail(exchange, error);
    this.#flush();
  }

  #post(exchange) {
    const frame = this.#sendFrame(exchange);
    if (bytes(frame) > FRAME_BYTES) this.#upload(exchange, frame);
    else this.#transmit(frame);
    this.#change(exchange, { status: "sent", wasSent: true, sentAt: performance.now(), endedAt: null });
    this.#after(`answer ${exchange.id}`, ANSWER_MS, () => this.#unanswered(exchange));
  }

  async #upload(exchange, frame) {
    const error = await this.upload(frame);
    if (error && exchange.status === "sent" && this.#isHere(exchange)) this.#fail(exchange, error);
  }

  /** What was left goes by HTTP: a frame would bring its conversation back to this socket. */
  async #deliver() {
    for (const exchange of [...this.#left.values()]) {
      if (this.#left.get(exchange.id) !== exchange || exchange.status === "failed") continue;
      const unprepared = lacksFiles(exchange) ? await this.prepare(exchange) : null;
      const error = unprepared ?? (await this.upload(this.#sendFrame(exchange)));
      if (error?.retryable) return this.#after("deliver", backoff((this.#undelivered += 1)), () => this.#flush());
      this.#undelivered = 0;
      if (this.#left.get(exchange.id) !== exchange) continue; // one has come back to it
      if (error) this.#fail(exchange, error);
      else {
        this.#left.delete(exchange.id);
        this.#change(exchange, { status: "left" });
      }
    }
  }

  /** After a reconnect: what the server may not have is sent again, what it has is continued. */
  #takeUp(exchange) {
    exchange.resuming = false;
    if (exchange.stops && isOpen(exchange)) this.#cancel(exchange);
    if (exchange.status === "sent") exchange.status = "queued";
    else if (isOpen(exchange) && exchange.reply) this.#resume(exchange);
    else if (isOpen(exchange)) exchange.status = "queued";
    else if (isUnsettled(exchange) && UNHEARD.includes(exchange.error?.code)) this.#change(exchange, { status: "queued", ...anew() });
  }

  #resume(exchange) {
    if (exchange.resuming) return;
    exchange.resuming = true;
    const { id, text } = exchange.reply;
    this.#transmit({ action: "resume", conversation: this.conversation, reply: id, offset: text.length });
  }

  #sendFrame({ id, conversation, content, attachments }) {
    const frame = { action: "send", id, conversation, agent: this.agent, content };
    return attachments.length ? { ...frame, attachments: attachments.map(({ url }) => ({ url })) } : frame;
  }

  #open(id, content, status) {
    return this.#begin(newExchange(this.conversation, id, content, status));
  }

  #begin(exchange) {
    this.exchanges.set(exchange.id, exchange);
    this.#emit("status", exchange);
    this.#changed(exchange);
    return exchange;
  }

  /** A reply that was begun elsewhere: by another device, or by this page before it was loaded again. */
  #foreign(reply) {
    const exchange = this.#open(`reply:${reply}`, null, "typing");
    exchange.reply = newReply(reply);
    return exchange;
  }

  /** The exchange of a message; of a reply that was heard of before its message, it is that. */
  #asking({ id, reply }) {
    const exchange = this.exchanges.get(id) ?? this.#ofReply(reply);
    if (!exchange || exchange.id === id) return exchange;
    exchange.id = id;
    this.exchanges = new Map([...this.exchanges.values()].map((each) => [each.id, each]));
    return exchange;
  }

  #ofReply(reply) {
    return [...this.exchanges.values()].find((exchange) => reply && exchange.reply?.id === reply);
  }

  #change(exchange, changes) {
    const before = exchange.status;
    Object.assign(exchange, changes);
    if (exchange.status !== before) this.#emit("status", exchange); // of whatever conversation
    this.#changed(exchange);
  }

  #changed(exchange) {
    if (this.#isHere(exchange)) this.#emit("exchange", exchange); // the exchange that is new or has changed
  }

  /** Its conversation may have been left while something was awaited. */
  #isHere(exchange) {
    return this.exchanges.get(exchange.id) === exchange;
  }

  // --- small things

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #after(name, ms, act) {
    this.#clear(name);
    this.#timers.set(name, setTimeout(act, ms));
  }

  #clear(name) {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }
}

function newExchange(conversation, id, content, status, attachments = []) {
  return {
    conversation,
    id,
    content, // null if another device sent the message and it is not known here
    truncated: false, // whether `content` is only the beginning
    attachments, // {url, filename, mime_type, size} of each; without a url it is to be uploaded first
    status,
    own: false, // sent from here
    wasSent: false, // the server may have it
    preparing: false, // its files are being uploaded
    returned: false, // it is in the composer again, and is not offered for that
    stops: false, // nobody wants the rest: said to the server with the next connection
    waits: false, // for the replies before it
    reply: null,
    aside: null, // "thinking" or "tool" while the model does that instead of writing
    asides: [], // {type, content, beganAt, endedAt} of all of them, in their order; times are performance.now()
    resuming: false,
    acknowledged: false, // the server knows that this device has shown it
    error: null, // the error frame and `retryAt`, milliseconds since 1970
    end: null, // the `complete` frame
    proof: null, // "verified", "different" or "unchecked"; "kept" if it comes from the server's store
    arrivals: [], // {at, chars} of every frame that brought text; `at` and the two below are performance.now()
    sentAt: null,
    endedAt: null,
  };
}

/** The exchange that a turn of the server's store tells of. */
function recalled(conversation, { id, content, attachments, reply: { id: reply, status, text, error } }) {
  const owed = status === "queued" || status === "streaming";
  const broken = hasFailed(status);
  return {
    ...newExchange(conversation, id, content, owed ? "typing" : broken ? "failed" : "complete", attachments),
    waits: status === "queued",
    acknowledged: !owed,
    reply: { ...newReply(reply), text },
    error: broken ? { ...(error ?? BROKE_OFF), retryAt: 0 } : null,
    end: owed || broken ? null : { stop_reason: status },
    proof: owed ? null : "kept",
  };
}

/** Whether the server has accepted the message and owes (the rest of) a reply. */
export function isOpen(exchange) {
  return exchange.status === "typing" || exchange.status === "writing";
}

/** Whether all that the user said is known here, so that it can be sent again. */
export function isWhole({ content, truncated }) {
  return content !== null && !truncated;
}

/** Whether the server may not have the message. */
export function isUnsettled({ status, reply }) {
  return status === "queued" || status === "sent" || (status === "failed" && !reply);
}

/** Whether the message can still need to be sent again: it and its files must not be lost. */
export function isUnanswered({ status }) {
  return !["complete", "withdrawn", "left"].includes(status);
}

/** Whether the server certainly has not taken the message, or will never answer it as it is. */
export function isWithdrawable({ own, status, wasSent, error, reply }) {
  if (!own) return false;
  if (status === "failed" && !error.retryable) return !reply?.text;
  return !wasSent && (status === "queued" || status === "failed");
}

function hasFailed(status) {
  return status === "failed" || status === "interrupted";
}

function lacksFiles({ attachments }) {
  return attachments.some(({ url }) => !url);
}

/** What an exchange is before its reply. */
function anew() {
  const said = { aside: null, asides: [], error: null, end: null, proof: null, arrivals: [] };
  return { ...said, acknowledged: false, stops: false };
}

/**
 * `told` is what the server has, `present` what is here. What only is here stays behind what it follows, and what the
 * server may not have comes last.
 */
function inOrder(told, present) {
  const isTold = new Set(told);
  const following = new Map([[null, []], ...told.map((exchange) => [exchange, []])]);
  const last = [];
  let before = null;
  for (const exchange of present) {
    if (isTold.has(exchange)) before = exchange;
    else (isUnsettled(exchange) ? last : following.get(before)).push(exchange);
  }
  return [...following.get(null), ...told.flatMap((exchange) => [exchange, ...following.get(exchange)]), ...last];
}

function bytes(frame) {
  return new TextEncoder().encode(JSON.stringify(frame)).length;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
