/** One agent's chat: its conversation, the socket that it goes over, and what it looks like. */

import { Tray } from "./attachments.js";
import { ChatRelayClient } from "./client.js";
import { Files } from "./files.js";
import { Transcript } from "./transcript.js";

const NAMES = { claude: "Claude", codex: "Codex" };

export class Chat {
  connection = { state: "stopped", retryAt: null };
  /** The exchange that has changed last. */
  latest = null;
  /** Milliseconds to the server and back; null until known. */
  lag = null;
  draft = "";
  /** The cursor of the turns before those that are shown; null if there are none. */
  earlier = null;

  #http;
  #files;
  #screen;
  #status = null;
  #isNew;

  /**
   * @param {string} agent
   * @param {string} url of the WebSocket
   * @param {string | null} device the name of this page as a device
   * @param {object} screen is told what has happened to which chat: `connected`, `drawn` (something of the transcript),
   *   `changed` (an exchange, or the files of the next message), `moved` (an exchange to another status), `lagged`; and
   *   shows every `frame`
   */
  constructor(agent, { url, device, http, screen }) {
    this.agent = agent;
    this.name = NAMES[agent] ?? agent;
    this.#http = http;
    this.#files = new Files(http);
    this.#screen = screen;
    const known = sessionStorage.getItem(`conversation.${agent}`);
    this.#isNew = known === null;
    const conversation = this.#keep(known ?? newConversation());
    const isRejected = (key) => http.isRejected(key);
    const upload = (frame) => this.#post(frame);
    this.client = new ChatRelayClient({ url, agent, conversation, device, isRejected, upload });
    this.tray = new Tray(http, this.#files, () => screen.changed(this));
    this.transcript = new Transcript(
      this.name,
      (id) => this.client.retry(id),
      (attachment) => this.#files.show(attachment),
      () => screen.drawn(this),
    );
    this.client.addEventListener("state", ({ detail }) => this.#connected(detail));
    this.client.addEventListener("exchange", ({ detail }) => this.#exchanged(detail));
    this.client.addEventListener("notice", ({ detail }) => this.transcript.notice(detail));
    this.client.addEventListener("frame", ({ detail }) => screen.frame(detail));
    this.client.addEventListener("lag", ({ detail }) => this.#lagged(detail));
  }

  /** What was said before the page was loaded comes while the socket opens. */
  start(key) {
    this.client.start(key);
    if (!this.#isNew) this.#recall().catch(() => {}); // nothing was ever said, or the socket will tell what is wrong
  }

  /** Another conversation, with the latest page of its turns; without one, a new conversation. */
  open(conversation = newConversation(), page = { turns: [], next: null }) {
    this.transcript.clear();
    this.#files.clear();
    this.latest = null;
    this.client.converse(this.#keep(conversation));
    this.#take(page);
  }

  /** A conversation was deleted; if it was this one, a new one begins. */
  forget(conversation) {
    this.client.forget(conversation);
    if (this.client.conversation === conversation) this.open();
  }

  /** Shows the page of turns before those that are shown. Throws a `Refusal`. */
  recallEarlier() {
    return this.#recall(this.earlier);
  }

  async #recall(cursor = null) {
    const { conversation } = this.client;
    const page = await this.#http.turns(conversation, cursor);
    if (conversation === this.client.conversation) this.#take(page);
  }

  #take({ turns, next }) {
    this.earlier = next;
    this.transcript.recall(this.client.recall(turns));
  }

  /** So that a page that is loaded again is where it was. */
  #keep(conversation) {
    sessionStorage.setItem(`conversation.${this.agent}`, conversation);
    return conversation;
  }

  /** A message that is not for the socket goes by HTTP; its reply comes over the socket that shows its conversation. */
  async #post(frame) {
    try {
      await this.#http.postMessage(frame);
      return null;
    } catch ({ message, code, retryable }) {
      return { content: message, code, retryable };
    }
  }

  #connected(connection) {
    this.connection = connection;
    this.#screen.connected(this);
  }

  #exchanged(exchange) {
    const moved = exchange !== this.latest || exchange.status !== this.#status;
    this.latest = exchange;
    this.#status = exchange.status;
    this.transcript.show(exchange);
    if (moved) this.#screen.moved(this);
    this.#screen.changed(this);
  }

  #lagged({ ms }) {
    this.lag = ms;
    this.#screen.lagged(this);
  }
}

function newConversation() {
  const bytes = crypto.getRandomValues(new Uint8Array(9));
  return `page-${btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_")}`;
}
