/**
 * The exchanges of the conversation that the socket shows: what is sent, what comes, and what is owed.
 *
 * Whatever is `queued` or `sent`, or failed because nobody could be reached, goes out again after a reconnect with the
 * same id, which is safe; one message after the other, because the server may handle the frames of a socket in any
 * order. What the server has accepted (`typing`, `writing`) is resumed from where it is here; if the server has begun
 * anew and knows nothing of it, it is sent again.
 *
 * When the conversation is left for another, what was `queued` or `sent` goes out by `upload`, now or after the next
 * reconnect, and then is `left`, as what was accepted is at once. What could not be sent, or has failed, is there again
 * when the user comes back to its conversation.
 */

import { cutBack, isCurrent, missing, newReply, place, prove } from "./assembly.js";
import { backoff } from "./connection.js";
import {
  BROKE_OFF,
  hasEnded,
  hasFailed,
  inOrder,
  isOpen,
  isUnanswered,
  isUnsettled,
  isWhole,
  isWithdrawable,
  lacksFiles,
  newExchange,
  recalled,
  unreplied,
} from "./exchange.js";
import { hex } from "./random.js";

/** A longer frame goes by `upload`: the protocol allows 32 KB. */
const FRAME_BYTES = 31 * 1024;
const ANSWER_MS = 20_000;
/** Nobody knows whether the server has the message: it goes out again with the next connection. */
const UNHEARD = ["unanswered", "unreached"];

export class Exchanges {
  conversation;
  /** By message id, in the order in which they began. */
  all = new Map();

  #agent;
  #connection;
  #app;
  /** By message id, of conversations that were left: what the server may not have. */
  #left = new Map();
  /** How often in turn something that was left could not be delivered. */
  #undelivered = 0;
  /** Replies in whose place others are, or nothing: they may still be written, and are not heard any more. */
  #gone = new Set();
  /** How often something has taken the place of something else. */
  #replacements = 0;

  /**
   * @param {string} agent
   * @param {string} conversation
   * @param {Connection} connection
   * @param {object} app its `upload`, `prepare` and `explain`, as `ChatRelayClient` has them, and an `emit` that is
   *   told `exchange`, `status`, `shown` and `notice`
   */
  constructor(agent, conversation, connection, app) {
    this.#agent = agent;
    this.conversation = conversation;
    this.#connection = connection;
    this.#app = app;
  }

  /** Return the exchange with that message, here or in a conversation that was left; or undefined. */
  find(id) {
    return this.all.get(id) ?? this.#left.get(id);
  }

  /** The exchange whose reply is being written, or comes next; or undefined. */
  get writing() {
    return this.#here.find((exchange) => isOpen(exchange) && exchange.reply);
  }

  get isAwaited() {
    return this.#here.some(isOpen);
  }

  // --- what the user does

  send(content, attachments) {
    return this.#say(content, attachments);
  }

  retry(id) {
    const exchange = this.all.get(id);
    if (exchange?.status !== "failed") return;
    this.#change(exchange, { status: "queued", ...unreplied() });
    this.#flush();
  }

  /** Send another message in the place of one that has a reply, and of all that followed that. */
  edit(id, content, attachments) {
    return this.all.get(id)?.reply ? this.#say(content, attachments, id) : null;
  }

  #say(content, attachments, replaces = null) {
    const begun = newExchange(this.conversation, hex(16), content, "queued", attachments);
    const exchange = { ...begun, own: true, replaces };
    this.#replaceFor(exchange);
    this.#begin(exchange);
    this.#flush();
    return exchange;
  }

  /** Ask for another reply in the place of one that has ended, and of all that followed it. */
  regenerate(id) {
    const exchange = this.all.get(id);
    if (!exchange?.reply || !["complete", "failed"].includes(exchange.status)) return;
    this.#change(exchange, { status: "queued", ...unreplied(), regenerates: exchange.reply.id });
    this.#replaceFor(exchange);
    this.#flush();
  }

  withdraw(id) {
    const exchange = this.find(id);
    if (!exchange || !isWithdrawable(exchange)) return null;
    this.all.delete(id);
    this.#left.delete(id);
    this.#change(exchange, { status: "withdrawn" });
    this.#flush(); // what was behind it waited for its files
    return exchange;
  }

  cancel() {
    const exchange = this.writing;
    if (exchange && this.#isOnline) this.#cancel(exchange);
    else if (exchange) this.#change(exchange, { stops: true });
  }

  acknowledge() {
    for (const exchange of this.all.values()) {
      if (exchange.status !== "complete" || exchange.acknowledged) continue;
      exchange.acknowledged = true;
      const { id, length } = exchange.reply;
      this.#connection.transmit({ action: "ack", reply: id, offset: length });
    }
  }

  /** Leave this conversation for another. The caller greets the server in between, so that it hears of it first. */
  leaveFor(conversation) {
    const leaving = this.#here;
    this.conversation = conversation;
    this.all.clear();
    this.#gone.clear();
    for (const exchange of leaving) this.#leave(exchange);
  }

  comeBack() {
    const isBack = ({ conversation }) => conversation === this.conversation;
    for (const exchange of [...this.#left.values()].filter(isBack)) this.#comeBackTo(exchange);
    this.#flush();
  }

  forget(conversation) {
    for (const { id, conversation: its } of this.#left.values()) if (its === conversation) this.#left.delete(id);
    if (conversation === this.conversation) this.all.clear();
  }

  // --- what was said before, or meanwhile

  restore(messages) {
    for (const { conversation, id, content, attachments, error, wasSent, replaces = null } of messages) {
      if (this.find(id)) continue;
      const status = error ? "failed" : "queued";
      const begun = newExchange(conversation, id, content, status, attachments);
      const exchange = { ...begun, own: true, error, wasSent, replaces };
      if (conversation === this.conversation) this.all.set(id, exchange);
      else this.#left.set(id, exchange);
      this.#changed(exchange);
    }
    this.#flush();
  }

  recall(turns) {
    return this.#take(turns, (past, present) => [...past, ...present.filter((exchange) => !past.includes(exchange))]);
  }

  async catchUp(ask) {
    const { conversation } = this;
    let page = null;
    let before;
    for (let replacements = null; replacements !== this.#replacements; ) {
      replacements = this.#replacements; // if it is another one at the end, the turns may be those before it
      before = new Set(this.#here);
      page = await ask();
      if (conversation !== this.conversation) return null;
    }
    const isOlder = (exchange) => before.has(exchange) && !isUnsettled(exchange);
    this.#leaveOut(page, isOlder);
    this.#take(page.turns, inOrder, isOlder);
    return this.#here;
  }

  /** Drop what was replaced. Turns that are not the first ones say nothing of what is here before them. */
  #leaveOut({ turns, next }, isOlder) {
    const ids = new Set(turns.flatMap(({ id, reply }) => [id, reply.id]));
    const isTold = ({ id, reply }) => ids.has(id) || ids.has(reply?.id);
    const here = this.#here;
    const first = next === null ? 0 : here.findIndex(({ id }) => id === turns[0]?.id);
    for (const exchange of here.slice(Math.max(0, first))) {
      if (isOlder(exchange) && !isTold(exchange)) this.#drop(exchange);
    }
  }

  #take(turns, arranged, isOlder = () => false) {
    const present = this.#here;
    // What is here has failed, and there is being written: asked for again elsewhere, or told of before it failed.
    const followed = new Set(present.filter(({ status }) => status !== "failed").map(({ reply }) => reply));
    const told = turns.map((turn) => this.#known(turn, isOlder) ?? this.#recalled(turn));
    for (const { reply } of told) this.#gone.delete(reply.id);
    const fresh = told.filter(({ reply }) => !followed.has(reply));
    this.all = new Map(arranged(told, present).map((exchange) => [exchange.id, exchange]));
    for (const exchange of this.#here.filter(isPending)) this.#replaceFor(exchange);
    const taken = (exchange) => this.#isHere(exchange);
    if (this.#isOnline) for (const exchange of fresh.filter(taken).filter(isOpen)) this.#resume(exchange);
    this.#sendNext();
    return told.filter(taken);
  }

  #recalled(turn) {
    const exchange = recalled(this.conversation, turn);
    return exchange.error ? { ...exchange, error: this.#app.explain(exchange.error) } : exchange;
  }

  /** The exchange of a turn that is here: sent meanwhile, or told of by `ready`, which does not say what was asked. */
  #known(turn, isOlder) {
    const { id, content, attachments = [], reply } = turn;
    const known = this.#asking({ id, reply: reply.id });
    if (!known) return null;
    const { status, own, wasSent, sentAt } = known;
    const asked = { content, attachments: own ? known.attachments : attachments, truncated: false };
    // Of a message of which nothing was heard here, or that was asked for again elsewhere, the server knows more.
    const isOther = known.reply && known.reply.id !== reply.id && isOlder(known);
    const knowsMore = !known.reply || isOther || (status === "failed" && !hasFailed(reply.status));
    if (isOther) this.#gone.add(known.reply.id);
    Object.assign(known, knowsMore ? { ...this.#recalled(turn), own, wasSent, sentAt } : {}, asked);
    if (known.status !== status) this.#app.emit("status", known);
    return known;
  }

  // --- what a new connection needs

  /** The server has begun anew: it knows neither the replies that it owed, nor any file. */
  beginAnew() {
    for (const exchange of [...this.#here, ...this.#left.values()]) {
      if (isOpen(exchange) && isWhole(exchange) && !exchange.stops) {
        this.#change(exchange, { status: "queued", reply: null, waits: false, wasSent: false, ...unreplied() });
      } else if (isOpen(exchange)) {
        this.#fail(exchange, { ...BROKE_OFF, retryable: isWhole(exchange) });
      }
      if (isUnanswered(exchange)) exchange.attachments = exchange.attachments.map((file) => ({ ...file, url: null }));
    }
  }

  /** The connection is new: what the server may not have is sent again, what it has is continued. */
  takeUp() {
    for (const exchange of this.all.values()) this.#takeUp(exchange);
    this.#flush();
  }

  #takeUp(exchange) {
    exchange.resuming = false;
    if (exchange.stops && isOpen(exchange)) this.#cancel(exchange);
    if (exchange.status === "sent") exchange.status = "queued";
    else if (isOpen(exchange) && exchange.reply) this.#resume(exchange);
    else if (isOpen(exchange)) exchange.status = "queued";
    else if (isUnsettled(exchange) && UNHEARD.includes(exchange.error?.code)) {
      this.#change(exchange, { status: "queued", ...unreplied() });
    }
  }

  /** The server shows this conversation: from now on all that is said in it comes in. */
  shown({ active }) {
    const reply = active?.reply ?? active;
    // If a message has just been sent again, the active reply may be the one to it: `typing` will tell.
    const isSent = this.#here.some(({ status }) => status === "sent");
    if (reply && !isSent && !this.#ofReply(reply) && !this.#gone.has(reply)) this.#resume(this.#foreign(reply));
    this.#app.emit("shown", { conversation: this.conversation });
  }

  // --- what comes

  /** Take in any frame but `ready` and `pong`. */
  heed(frame, text) {
    if (frame?.type === undefined) return this.#gatewayError(frame, text);
    if (this.isElsewhere(frame)) return; // the rest of a conversation that was left
    if (this.#gone.has(frame.reply)) return;
    switch (frame.type) {
      case "error":
        return this.#error(frame);
      case "typing":
        return this.#typing(frame);
      case "user":
        return this.#user(frame);
      case "resumed":
      case "complete":
        return this.#ofAReply(frame);
    }
    // A frame of a log has a part, and its type may be of a later protocol. Other types of that are none of our business.
    if (frame.part !== undefined) this.#ofAReply(frame);
  }

  isElsewhere({ conversation }) {
    return Boolean(conversation) && conversation !== this.conversation;
  }

  #typing(frame) {
    const exchange = this.#asking(frame) ?? this.#open(frame.id, null, "typing");
    if (frame.reply && exchange.reply?.id !== frame.reply) this.#answerBy(exchange, frame.reply);
    if (exchange.reply && !isCurrent(exchange.reply, frame)) return;
    exchange.resuming = false; // a reply that waits its turn comes by itself
    const status = exchange.reply?.text ? "writing" : "typing";
    this.#change(exchange, { status, waits: frame.epoch === 0, error: null, regenerates: null });
  }

  /** Of a message that is longer than a frame may be only the beginning comes: whoever has more keeps that. */
  #user({ id, reply, content, attachments = [], truncated = false, replaces }) {
    // What has gone from here already, or is older than all that is here: only the turns tell what follows it.
    const isUnclear = replaces !== undefined && !this.all.has(replaces) && !this.all.has(id);
    if (replaces !== undefined) this.#replace(replaces, id);
    if (isUnclear) this.#app.emit("shown", { conversation: this.conversation });
    const exchange = this.#asking({ id, reply }) ?? this.#open(id, null, "typing");
    if (reply) exchange.reply ??= newReply(reply); // so that it is resumed, not sent again
    if (exchange.own) return;
    if (!truncated || exchange.content === null) this.#change(exchange, { content, attachments, truncated });
  }

  #ofAReply(frame) {
    if (!frame.reply) return;
    const exchange = this.#ofReply(frame.reply) ?? this.#asked(frame) ?? this.#unheard(frame);
    if (!exchange || hasEnded(exchange) || !isCurrent(exchange.reply, frame)) return;
    if (frame.part !== undefined) this.#piece(exchange, frame);
    else if (frame.type === "complete") this.#complete(exchange, frame);
    else exchange.resuming = false;
  }

  /** The message that `resumed` names: of a message that was accepted before, that may be the first frame to come. */
  #asked({ id, reply }) {
    const exchange = this.all.get(id);
    if (exchange) {
      this.#answerBy(exchange, reply);
      this.#change(exchange, { status: "typing", regenerates: null });
    }
    return exchange;
  }

  #piece(exchange, frame) {
    const { reply } = exchange;
    const known = reply.length;
    const outcome = place(reply, frame);
    if (outcome === "gap") return this.#resume(exchange);
    exchange.resuming = false;
    if (outcome !== "appended") return;
    exchange.arrivals.push({ at: performance.now(), chars: reply.length - known });
    this.#change(exchange, { status: reply.text ? "writing" : "typing", waits: false, error: null });
  }

  #complete(exchange, frame) {
    exchange.end = frame;
    if (this.#catchesUp(exchange, frame)) return;
    this.#change(exchange, { status: "complete", endedAt: performance.now(), resuming: false });
    this.#prove(exchange, frame);
  }

  /** Compare what is here with what the reply's last frame says is kept. If it is another log, ask once for all of it. */
  async #prove(exchange, last) {
    const { reply } = exchange;
    const proof = await prove(reply, last);
    if (exchange.reply !== reply) return;
    if (proof !== "different" || exchange.isBehind || !this.#isOnline) return this.#change(exchange, { proof });
    const { id, epoch, logEpoch } = reply;
    const anew = { ...newReply(id), epoch, logEpoch };
    this.#change(exchange, { status: "typing", reply: anew, isBehind: true, error: null, end: null, arrivals: [] });
    this.#resume(exchange);
  }

  /** The reply has ended: ask once for what is missing of it. */
  #catchesUp(exchange, last) {
    if (exchange.isBehind || !exchange.reply || !missing(exchange.reply, last)) return false;
    exchange.isBehind = true;
    this.#resume(exchange);
    return true;
  }

  // --- what goes wrong

  #error(frame) {
    const isEnd = frame.length !== undefined;
    const exchange = this.all.get(frame.id) ?? this.#ofReply(frame.reply) ?? (isEnd ? this.#unheard(frame) : null);
    if (exchange && (frame.id || isEnd)) this.#fail(exchange, frame);
    else if (exchange) this.#refused(exchange, frame);
    else if (frame.id || frame.reply)
      return; // of a conversation that was left, or withdrawn elsewhere
    else if (["unauthorized", "expired"].includes(frame.code)) this.#connection.reject();
    else this.#app.emit("notice", this.#app.explain(frame));
  }

  /** The server does not do what was asked of a reply. */
  #refused(exchange, frame) {
    const { retryable, retry_after } = frame;
    if (isAskedAnew(exchange)) this.#fail(exchange, frame);
    else if (exchange.resuming) this.#fail(exchange, { ...BROKE_OFF, retryable, retry_after });
    else this.#app.emit("notice", this.#app.explain(frame));
  }

  /** API Gateway's own frames have no type: `{"message": "Forbidden", "connectionId", "requestId"}`. */
  #gatewayError(frame, text) {
    const sentence = frame?.message ?? text;
    const error = { code: "gateway", content: `The gateway says: ${sentence}.`, retryable: true };
    const waiting = this.#here.filter(({ status }) => status === "sent");
    if (waiting.length) this.#fail(waiting.at(-1), error);
    else this.#app.emit("notice", error);
  }

  #fail(exchange, frame) {
    if (frame.length !== undefined && this.#catchesUp(exchange, frame)) return;
    if (frame.length < exchange.reply?.length) cutBack(exchange.reply, frame.length);
    const error = this.#app.explain(frame);
    const retryAt = Date.now() + (error.retry_after ?? 0) * 1000;
    this.#change(exchange, {
      status: "failed",
      resuming: false,
      endedAt: performance.now(),
      error: { ...error, retryAt },
    });
    if (frame.length !== undefined) this.#prove(exchange, frame);
  }

  #unanswered(exchange) {
    if (exchange.status !== "sent") return;
    const content = "No answer yet. If this message was accepted before, its reply may be finished already.";
    this.#fail(exchange, { code: "unanswered", content, retryable: true });
    this.#connection.ping(); // the socket may be dead
  }

  // --- what goes out

  /** Send everything that waits. */
  #flush() {
    if (this.#isOnline) this.#deliver();
    this.#sendNext();
  }

  /** Send the next message, unless one is on its way: it might be overtaken. */
  #sendNext() {
    if (!this.#isOnline || this.#here.some(isOnItsWay)) return;
    const next = this.#here.find(({ status }) => status === "queued");
    if (next && lacksFiles(next)) this.#prepare(next);
    else if (next) this.#post(next);
  }

  async #prepare(exchange) {
    if (exchange.preparing) return;
    exchange.preparing = true;
    const error = await this.#app.prepare(exchange);
    exchange.preparing = false;
    if (!this.#isHere(exchange)) return;
    if (error) this.#fail(exchange, error);
    this.#flush();
  }

  #post(exchange) {
    const frame = this.#sendFrame(exchange);
    if (bytes(frame) > FRAME_BYTES) this.#upload(exchange, frame);
    else this.#connection.transmit(frame);
    this.#change(exchange, { status: "sent", wasSent: true, kept: false, sentAt: performance.now(), endedAt: null });
    this.#connection.after(`answer ${exchange.id}`, ANSWER_MS, () => this.#unanswered(exchange));
  }

  async #upload(exchange, frame) {
    const error = await this.#app.upload(frame);
    if (exchange.status !== "sent" || !this.#isHere(exchange)) return;
    if (error) return this.#fail(exchange, error);
    exchange.kept = true;
    this.#sendNext();
  }

  /** Send what was left, by HTTP: a frame would bring its conversation back to this socket. */
  async #deliver() {
    for (const exchange of [...this.#left.values()]) {
      if (this.#left.get(exchange.id) !== exchange || exchange.status === "failed") continue;
      const unprepared = lacksFiles(exchange) ? await this.#app.prepare(exchange) : null;
      const error = unprepared ?? (await this.#app.upload(this.#sendFrame(exchange)));
      if (error?.retryable) return this.#deliverLater();
      this.#undelivered = 0;
      if (this.#left.get(exchange.id) !== exchange) continue; // the user has come back to it
      if (error) this.#fail(exchange, error);
      else {
        this.#left.delete(exchange.id);
        this.#change(exchange, { status: "left" });
      }
    }
  }

  #deliverLater() {
    this.#undelivered += 1;
    this.#connection.after("deliver", backoff(this.#undelivered), () => this.#flush());
  }

  #resume(exchange) {
    if (exchange.resuming) return;
    exchange.resuming = true;
    const { id, length } = exchange.reply;
    this.#connection.transmit({ action: "resume", conversation: this.conversation, reply: id, offset: length });
  }

  #cancel(exchange) {
    exchange.stops = false;
    this.#connection.transmit({ action: "cancel", reply: exchange.reply.id });
  }

  #sendFrame({ id, conversation, content, attachments, replaces, regenerates }) {
    if (regenerates) return { action: "regenerate", reply: regenerates };
    const said = { id, conversation, agent: this.#agent, content };
    const frame = replaces ? { action: "edit", ...said, replaces } : { action: "send", ...said };
    return attachments.length ? { ...frame, attachments: attachments.map(({ url }) => ({ url })) } : frame;
  }

  // --- what is here

  get #isOnline() {
    return this.#connection.state === "online";
  }

  get #here() {
    return [...this.all.values()];
  }

  /** Its conversation may have been left while something was awaited. */
  #isHere(exchange) {
    return this.all.get(exchange.id) === exchange;
  }

  #leave(exchange) {
    this.#connection.clear(`answer ${exchange.id}`);
    if (exchange.regenerates) return; // the reply that it has stays
    if (isOpen(exchange))
      this.#change(exchange, { status: "left" }); // the server answers it, whoever looks
    else if (isUnanswered(exchange)) this.#left.set(exchange.id, exchange);
  }

  #comeBackTo(exchange) {
    this.#left.delete(exchange.id);
    this.all.set(exchange.id, exchange);
    if (exchange.status === "sent") exchange.status = "queued";
    this.#changed(exchange);
  }

  /** Drop what an exchange takes the place of: another message, or all that followed its own. */
  #replaceFor({ id, replaces, regenerates }) {
    if (regenerates) this.#replace(id, id);
    else if (replaces) this.#replace(replaces, id);
  }

  /** Drop what the message `id` takes the place of, or, if that is its own, what followed it. What is unsent stays. */
  #replace(replaced, id) {
    this.#replacements += 1;
    const ids = [...this.all.keys()];
    const from = ids.indexOf(replaced);
    const gone = from === -1 ? [] : ids.slice(replaced === id ? from + 1 : from).map((each) => this.all.get(each));
    for (const exchange of gone.filter((each) => each.id !== id && !isUnsettled(each))) this.#drop(exchange);
  }

  #drop(exchange) {
    if (exchange.reply) this.#gone.add(exchange.reply.id);
    this.all.delete(exchange.id);
    this.#change(exchange, { status: "replaced" });
  }

  /** The message has another reply from now on, or its first one. */
  #answerBy(exchange, reply) {
    if (exchange.reply) {
      this.#gone.add(exchange.reply.id);
      this.#replacements += 1;
    }
    Object.assign(exchange, { reply: newReply(reply), ...unreplied() });
  }

  /** Begin the reply that a frame tells of. One that ends as nothing was stopped before its turn, and nobody asks here. */
  #unheard({ reply, length }) {
    return length === 0 ? null : this.#foreign(reply);
  }

  /** Begin a reply that was asked for elsewhere: by another device, or from here before a reload. */
  #foreign(reply) {
    const exchange = this.#open(`reply:${reply}`, null, "typing");
    exchange.reply = newReply(reply);
    return exchange;
  }

  #open(id, content, status) {
    return this.#begin(newExchange(this.conversation, id, content, status));
  }

  #begin(exchange) {
    this.all.set(exchange.id, exchange);
    this.#app.emit("status", exchange);
    this.#changed(exchange);
    return exchange;
  }

  /** Return the exchange of a message. The exchange of a reply that was heard of before its message becomes that. */
  #asking({ id, reply }) {
    const exchange = this.all.get(id) ?? this.#ofReply(reply);
    if (!exchange || exchange.id === id) return exchange;
    exchange.id = id;
    this.all = new Map(this.#here.map((each) => [each.id, each]));
    return exchange;
  }

  #ofReply(reply) {
    return this.#here.find((exchange) => reply && exchange.reply?.id === reply);
  }

  #change(exchange, changes) {
    const before = exchange.status;
    Object.assign(exchange, changes);
    if (exchange.status !== before) this.#app.emit("status", exchange);
    this.#changed(exchange);
    if (before === "sent" && exchange.status !== before) this.#sendNext();
  }

  #changed(exchange) {
    if (this.#isHere(exchange)) this.#app.emit("exchange", exchange);
  }
}

/** Whether the server may not know yet what the exchange takes the place of. */
function isPending(exchange) {
  return isUnsettled(exchange) && exchange.error?.retryable !== false;
}

function isOnItsWay({ status, kept }) {
  return status === "sent" && !kept;
}

function isAskedAnew({ status, regenerates }) {
  return status === "sent" && regenerates !== null;
}

function bytes(frame) {
  return new TextEncoder().encode(JSON.stringify(frame)).length;
}
