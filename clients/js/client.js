/**
 * A client of Chat Relay's WebSocket, protocol version 1 (docs/protocol.md): one connection, and the exchanges of one
 * conversation over it. `connection.js` has the states of the connection, `exchange.js` those of an exchange, and
 * `exchanges.js` says what is sent again, resumed or left.
 *
 * Events are CustomEvents; `detail` is
 *
 *   state     {state, retryAt}: the connection's; `retryAt` in milliseconds since 1970, or null
 *   exchange  an exchange of this conversation that is new or has changed
 *   status    an exchange of any conversation that is new or has another status
 *   shown     {conversation}: from now on all that is said in it comes in; call `catchUp` for what was said before
 *   notice    an error that belongs to no message
 *   frame     {direction, frame, text}: "in" or "out"; `frame` is null if the text is no JSON
 *   lag       {ms}: to the server and back
 */

import { Connection } from "./connection.js";
import { Exchanges } from "./exchanges.js";

export { isOpen, isUnanswered, isUnsettled, isWhole, isWithdrawable } from "./exchange.js";

const UNSENT = { code: "too_large", content: "This message is not for the socket.", retryable: false };

export class ChatRelayClient extends EventTarget {
  #connection;
  #exchanges;

  /**
   * @param {object} options
   * @param {string} options.url of the WebSocket, without query
   * @param {string} options.agent "claude" or "codex"
   * @param {string} options.conversation
   * @param {string | null} [options.device] the name under which this device has registered for push notifications
   * @param {(key: string) => Promise<boolean>} [options.isRejected] asked when a socket would not open, because
   *   browsers do not tell scripts why
   * @param {() => Promise<string>} [options.renew] asked for another key, a little before the one that there is runs out
   *   or when it has. Without it a message that comes after that is refused
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
    renew = null,
    upload = async () => UNSENT,
    prepare = async () => UNSENT,
    isAnew = null,
    explain = (error) => error,
  }) {
    super();
    Object.assign(this, { device, isRejected, renew, upload, prepare, isAnew, explain });
    const emit = (type, detail) => this.dispatchEvent(new CustomEvent(type, { detail }));
    this.#connection = new Connection(`${url}?agent=${agent}`, {
      hello: () => this.#hello(),
      heed: (frame, text) => this.#heed(frame, text),
      isAwaited: () => this.#exchanges.isAwaited,
      isRejected: (key) => this.isRejected(key),
      renew: () => this.renew(),
      emit,
    });
    this.#exchanges = new Exchanges(agent, conversation, this.#connection, {
      upload: (frame) => this.upload(frame),
      prepare: (exchange) => this.prepare(exchange),
      explain: (error) => this.explain(error),
      emit,
    });
  }

  // --- the connection

  get state() {
    return this.#connection.state;
  }

  start(key) {
    this.#connection.start(key);
  }

  stop() {
    this.#connection.stop();
  }

  /** Call when the network or the user comes back: an old socket is not trusted, and nothing waits any longer. */
  wake() {
    this.#connection.wake();
  }

  /** Call when the device says that it has no network. */
  loseNetwork() {
    this.#connection.loseNetwork();
  }

  /** The device has registered, under that name; or, with null, it wants no pushes any more. */
  introduce(device) {
    this.device = device;
    if (this.#isOnline) this.#connection.hello();
  }

  // --- the conversation

  get conversation() {
    return this.#exchanges.conversation;
  }

  /** By message id, in the order in which they began. */
  get exchanges() {
    return this.#exchanges.all;
  }

  /** The exchange whose reply is being written, or comes next; or undefined. */
  get writing() {
    return this.#exchanges.writing;
  }

  /** Return the exchange with that message, here or in a conversation that was left; or undefined. */
  find(id) {
    return this.#exchanges.find(id);
  }

  /** Leave this conversation for another. Replies of the old one are not followed any more; nothing unsent is lost. */
  converse(conversation) {
    this.#exchanges.leaveFor(conversation);
    if (this.#isOnline) this.#connection.hello();
    this.#exchanges.comeBack();
  }

  /** The conversation was deleted: what it had to send is not sent. */
  forget(conversation) {
    this.#exchanges.forget(conversation);
  }

  /**
   * Send a message, now or with the next connection.
   *
   * @param {{url}[]} attachments files that were uploaded; with one, `content` may be empty
   * @returns its exchange
   */
  send(content, attachments = []) {
    return this.#exchanges.send(content, attachments);
  }

  /** Send the same message, with the same id, once more, if it has failed. */
  retry(id) {
    this.#exchanges.retry(id);
  }

  /**
   * Send another message in the place of one that has a reply, and of all that followed that.
   *
   * @returns its exchange, or null if there is no such message
   */
  edit(id, content, attachments = []) {
    return this.#exchanges.edit(id, content, attachments);
  }

  /** Ask for another reply to a message, in the place of the one that has ended and of all that followed. */
  regenerate(id) {
    this.#exchanges.regenerate(id);
  }

  /** Take a message back. @returns its exchange, or null if the server may have it */
  withdraw(id) {
    return this.#exchanges.withdraw(id);
  }

  /** Stop the model, now or with the next connection; what it has written stays. */
  cancel() {
    this.#exchanges.cancel();
  }

  /** Call when everything that is here can be seen: what has ended is not pushed to this device then. */
  acknowledge() {
    if (this.device !== null && this.#isOnline) this.#exchanges.acknowledge();
  }

  // --- what was said before, or meanwhile

  /** Take in what was sent from here before the app was loaded, as `status` has told of it. */
  restore(messages) {
    this.#exchanges.restore(messages);
  }

  /**
   * Take in what was said before all that is here: turns, as `GET /api/conversations/{id}/messages` gives them. A
   * reply that is still owed is followed.
   *
   * @returns their exchanges, in their order
   */
  recall(turns) {
    return this.#exchanges.recall(turns);
  }

  /**
   * Take in what was said meanwhile. What is not among the turns any more was replaced elsewhere, and goes; what the
   * server may not have stays.
   *
   * @param {() => Promise<{turns: object[], next: string | null}>} ask for the latest turns, from one that is here or
   *   from the first on; `next` is null if it is the first. Asked again if something here was replaced meanwhile
   * @returns all exchanges, in their order; null if the conversation was left meanwhile
   */
  catchUp(ask) {
    return this.#exchanges.catchUp(ask);
  }

  // --- what connects the two

  get #isOnline() {
    return this.#connection.state === "online";
  }

  #hello() {
    const device = this.device === null ? {} : { device: this.device };
    return { action: "hello", conversation: this.conversation, ...device };
  }

  #heed(frame, text) {
    if (frame?.type === "ready") this.#ready(frame);
    else if (frame?.code === "expired" && this.renew) this.#connection.expire();
    else this.#exchanges.heed(frame, text);
  }

  #ready(frame) {
    if (this.#isOnline || !this.isAnew) return this.#greeted(frame);
    const { socket } = this.#connection;
    this.isAnew().then((anew) => {
      if (socket !== this.#connection.socket) return;
      if (anew) this.#exchanges.beginAnew();
      this.#greeted(frame);
    });
  }

  #greeted(frame) {
    const isElsewhere = this.#exchanges.isElsewhere(frame);
    if (!this.#isOnline) {
      if (isElsewhere) this.#connection.hello(); // the conversation was opened after the first `hello`
      this.#connection.ready(frame.heartbeat);
      this.#exchanges.takeUp();
    }
    if (this.renew) this.#connection.renewWithin(leftMs(frame));
    if (!isElsewhere) this.#exchanges.shown(frame);
  }
}

/** Return how long the key is good, by the server's own clock; NaN if it is good for ever. */
function leftMs({ good_until: goodUntil, timestamp }) {
  return Date.parse(goodUntil) - Date.parse(timestamp);
}
