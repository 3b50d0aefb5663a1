/** One agent's chat: its conversation over a socket of its own, its transcript, and the draft of the next message. */

import { ChatRelayClient, isOpen, isUnanswered, isUnsettled } from "../clients/js/client.js";
import { explained, withWait } from "./cures.js";
import { own } from "./state/storage.js";
import { lost, Tray, upload } from "./views/attachments.js";
import { Files } from "./views/files.js";
import { Transcript } from "./views/transcript.js";

const NAMES = { claude: "Claude", codex: "Codex" };
/** More than a page of turns is rarely said while the user is away. */
const PAGES_BEHIND = 20;
const GONE = {
  content: "The relay does not have this conversation any more. It was deleted, or the relay was started again.",
};

export class Chat {
  connection = { state: "stopped", retryAt: null };
  /** The exchange that changed last. */
  latest = null;
  /** Milliseconds to the server and back; null until known. */
  lag = null;
  /** The text in the composer. */
  draft = "";
  /** The message in whose place the next one is sent; or null. */
  editing = null;
  /** The cursor of the turns before those that are shown; null if there are none. */
  earlier = null;

  #http;
  #files;
  #keep;
  #blobs;
  #screen;
  #status = null;
  /** The conversation was made here and nothing was sent in it yet, so there is nothing to ask for. */
  #isMade;
  /** The conversations that the relay is known to have. A draft in any other is found by `Keep.begun` alone. */
  #known = new Set();
  #isRecalled = false;
  /** The run of the relay that files and messages here belong to. */
  #run;
  #isLoadingDraft = false;

  /**
   * @param {string} agent
   * @param {object} about
   * @param {string} about.url of the WebSocket
   * @param {string | null} about.device the name of this page as a device
   * @param {object} about.config the page's configuration, at present
   * @param {() => Promise<object>} about.configure gives the configuration of the relay as it is running now
   * @param {string | null} about.conversation to begin with, if the page's address names one
   * @param {object} about.screen is told what has happened to which chat: `connected`, `drawn` (something of the
   *   transcript), `changed` (an exchange, or the files of the next message), `drafted` (by other means than typing),
   *   `moved` (an exchange to another status), `lagged`; shows every `frame`; and draws what it is told with
   *   `configured`, as the relay runs now
   */
  constructor(agent, { url, device, http, keep, blobs, config, configure, conversation, screen }) {
    this.agent = agent;
    this.name = NAMES[agent] ?? agent;
    this.cures = config.cures[agent];
    this.#http = http;
    this.#files = new Files(http, blobs);
    this.#keep = keep;
    this.#blobs = blobs;
    this.#screen = screen;
    this.#run = config.run;
    const known = conversation ?? own.getItem(`conversation.${agent}`);
    this.#isMade = known === null;
    this.client = new ChatRelayClient({
      url,
      agent,
      conversation: this.#stay(known ?? keep.begun(agent) ?? newConversation()),
      device,
      isRejected: (key) => http.isRejected(key),
      upload: (frame) => this.#post(frame),
      prepare: (exchange) => this.#prepare(exchange),
      isAnew: () => this.#isAnew(configure),
      explain: (error) => explained(error, this.cures),
    });
    const uses = { http, files: this.#files, blobs, limits: config.limits };
    this.tray = new Tray(uses, (isLost) => this.#trayChanged(isLost));
    this.transcript = new Transcript(this.name, {
      retry: (id) => this.client.retry(id),
      regenerate: (id) => this.client.regenerate(id),
      edit: (id) => this.edit(id),
      withdraw: (id) => this.withdraw(id),
      showFile: (attachment) => this.#files.show(attachment),
      drawn: () => screen.drawn(this),
    });
    this.client.addEventListener("state", ({ detail }) => this.#connected(detail));
    this.client.addEventListener("exchange", ({ detail }) => this.#exchanged(detail));
    this.client.addEventListener("status", ({ detail }) => this.#remember(detail));
    this.client.addEventListener("shown", () => this.catchUp());
    this.client.addEventListener("notice", ({ detail }) => this.#noticed(detail));
    this.client.addEventListener("frame", ({ detail }) => screen.frame(detail));
    this.client.addEventListener("lag", ({ detail }) => this.#lagged(detail));
    this.#loadDraft();
    this.#restore();
  }

  /** Connect, and ask meanwhile for what was said before the page was loaded. */
  start(key) {
    this.client.start(key);
    if (!this.#isMade) this.#recall().catch(() => {}); // nothing was ever said, or the socket will tell what is wrong
  }

  /** Show another conversation, with the latest page of its turns. Without a conversation, begin a new one. */
  open(conversation = null, page = { turns: [], next: null }) {
    this.#isMade = conversation === null;
    this.transcript.clear();
    this.#files.clear();
    this.latest = null;
    this.editing = null;
    this.client.converse(this.#stay(conversation ?? this.#keep.begun(this.agent) ?? newConversation()));
    this.#take(page);
    this.#loadDraft();
  }

  /** The beginning of the first message that is shown. */
  get title() {
    return [...this.client.exchanges.values()].find(({ content }) => content)?.content.slice(0, 80) ?? "";
  }

  /** Drop a conversation that was deleted. If it is shown, begin a new one. */
  forget(conversation) {
    this.client.forget(conversation);
    if (this.client.conversation === conversation) this.open();
  }

  /** Show the page of turns before those that are shown. Throw a `Refusal` if the relay refuses. */
  recallEarlier() {
    return this.#recall(this.earlier);
  }

  /** Take in what was said elsewhere while this chat was not connected. */
  async catchUp() {
    if (this.#isMade) return;
    const { conversation } = this.client;
    let page;
    let wasKnown;
    const behind = async () => {
      wasKnown = this.#known.has(conversation);
      page = await this.#behind(conversation);
      return page;
    };
    try {
      const exchanges = await this.client.catchUp(behind);
      if (exchanges === null) return;
      if (!this.#isRecalled || exchanges[0]?.id === page.turns[0]?.id) this.earlier = page.next;
      this.#isRecalled = true;
      this.#markKnown(conversation);
      this.transcript.arrange(this.#adopt(exchanges));
    } catch ({ code }) {
      // The next connection tries again. `forbidden` is news only of a conversation that the relay had before it was
      // asked: meanwhile it may have taken the first message.
      if (code !== "forbidden" || !wasKnown || !this.#known.delete(conversation)) return;
      if (conversation !== this.client.conversation) return;
      this.transcript.notice(GONE);
      this.#saveDraft(); // no list leads to it any more
    }
  }

  /** Return the latest turns of a conversation, from one that is shown or from the first on. */
  async #behind(conversation) {
    let { turns, next } = await this.#http.turns(conversation);
    for (let pages = 1; pages < PAGES_BEHIND && next && this.#isRecalled && !this.#isShown(turns[0]); pages += 1) {
      const before = await this.#http.turns(conversation, next);
      turns = [...before.turns, ...turns];
      next = before.next;
    }
    return { turns, next };
  }

  #isShown(turn) {
    const exchange = this.client.exchanges.get(turn?.id);
    return exchange !== undefined && !isUnsettled(exchange);
  }

  async #recall(cursor = null) {
    const { conversation } = this.client;
    const page = await this.#http.turns(conversation, cursor);
    if (conversation === this.client.conversation) this.#take(page);
  }

  #take({ turns, next }) {
    this.#isRecalled = true;
    this.earlier = next;
    if (turns.length) this.#markKnown(this.client.conversation);
    this.transcript.recall(this.#adopt(this.client.recall(turns)));
  }

  /** Remember the conversation, so that a reload shows it again. */
  #stay(conversation) {
    own.setItem(`conversation.${this.agent}`, conversation);
    return conversation;
  }

  /** Send a message by HTTP. Its reply comes over the socket that shows its conversation. */
  async #post(frame) {
    try {
      await this.#http.postMessage(frame);
      return null;
    } catch ({ message, code, retryable }) {
      return { content: message, code, retryable };
    }
  }

  // --- what is typed

  /** Keep what the composer holds now. */
  write(content) {
    this.draft = content;
    this.#saveDraft();
  }

  /** Put `content` below what is in the composer. */
  add(content) {
    this.write([this.draft, content].filter(Boolean).join("\n\n"));
    this.#screen.drafted(this);
  }

  /** Send the draft and its files. Refused messages that went back into the composer are not shown any more. */
  send() {
    for (const { id, returned } of [...this.client.exchanges.values()]) if (returned) this.#takeBack(id);
    this.say(this.draft.trim(), this.tray.take());
    this.write("");
    this.#screen.drafted(this);
  }

  /** Send `content`, and leave the draft alone. */
  say(content, files = []) {
    this.#isMade = false;
    const edited = this.editing && this.client.edit(this.editing, content, files);
    if (!edited) this.client.send(content, files);
    this.editing = null;
  }

  /** Put a message that was answered into the composer: what is sent next takes its place. */
  edit(id) {
    const { content, attachments } = this.client.exchanges.get(id);
    this.editing = id;
    this.add(content);
    this.tray.put(attachments);
  }

  /** What is in the composer takes the place of nothing. */
  keepAll() {
    this.editing = null;
    this.#screen.drafted(this);
  }

  /** Take back a message that waits or was refused, into the composer. */
  withdraw(id) {
    const exchange = this.#takeBack(id);
    if (exchange) this.#putBack(exchange);
  }

  #takeBack(id) {
    const exchange = this.client.withdraw(id);
    if (exchange) this.transcript.remove(exchange);
    if (exchange) this.#screen.drawn(this);
    return exchange;
  }

  /** Add a message to the draft that is there. */
  #putBack({ content, attachments, error }) {
    this.add(content);
    // `forbidden` means that the relay lacks one of the files; it does not say which.
    const isFileMissing = error?.code === "forbidden";
    this.tray.put(attachments.map((file) => (isFileMissing ? { ...file, url: null } : file)));
  }

  /** Take over a draft that was changed in another tab. */
  draftedElsewhere() {
    const { content, files } = this.#keep.draft(this.agent, this.client.conversation);
    const ids = (some) => some.map(({ kept }) => kept).join();
    if (content === this.draft && ids(files) === ids(this.tray.kept)) return;
    this.#loadDraft();
    this.#screen.drafted(this);
  }

  /** Another tab has taken the message back, or has seen its answer. */
  droppedElsewhere(id) {
    if (this.client.find(id)?.status === "queued") this.#takeBack(id);
  }

  /** Load the kept draft. Upload its files again if another run of the relay has them. */
  #loadDraft() {
    const { conversation } = this.client;
    const { content, files, run, isNew } = this.#keep.draft(this.agent, conversation);
    if (isNew === false) this.#known.add(conversation);
    this.draft = content;
    this.#isLoadingDraft = true;
    this.tray.clear();
    this.tray.put(run === this.#run ? files : withoutUrls(files));
    this.#isLoadingDraft = false;
  }

  #trayChanged(isLost) {
    if (!this.#isLoadingDraft && !isLost) this.#saveDraft();
    this.#screen.changed(this);
  }

  /** The relay has the conversation: from now on its list leads there. */
  #markKnown(conversation) {
    if (conversation === this.client.conversation) this.#isMade = false;
    if (this.#known.has(conversation)) return;
    this.#known.add(conversation);
    const draft = this.#keep.draft(this.agent, conversation);
    if (draft.isNew) this.#keep.saveDraft(this.agent, conversation, { ...draft, isNew: false });
  }

  #isNew(conversation) {
    return !this.#known.has(conversation);
  }

  #saveDraft() {
    const { conversation } = this.client;
    const draft = { content: this.draft, files: this.tray.kept, run: this.#run, isNew: this.#isNew(conversation) };
    this.#keep.saveDraft(this.agent, conversation, draft);
  }

  // --- what was sent

  /**
   * Restore the messages that were sent before the page was loaded.
   *
   * What this run of the relay has accepted comes with the turns instead, and stays kept until they say how it ended.
   * In another conversation nothing would ever say so here: such a message is dropped, unless it has failed.
   */
  #restore() {
    const messages = this.#keep.messages(this.agent);
    const isTaken = ({ accepted, run }) => accepted && run === this.#run;
    const isElsewhere = ({ conversation, error }) => conversation !== this.client.conversation && !error;
    for (const message of messages.filter(isTaken)) if (isElsewhere(message)) this.#keep.dropMessage(message.id);
    const owed = messages.filter((message) => !isTaken(message));
    this.client.restore(
      owed.map((message) =>
        message.run === this.#run
          ? message
          : { ...message, wasSent: false, attachments: withoutUrls(message.attachments) },
      ),
    );
  }

  /** Recognize, among the relay's turns, the messages that were sent from here before the page was loaded. */
  #adopt(exchanges) {
    const sent = new Map(this.#keep.messages(this.agent).map((message) => [message.id, message]));
    for (const exchange of exchanges) {
      if (exchange.own || !sent.has(exchange.id)) continue;
      const { attachments, wasSent } = sent.get(exchange.id);
      Object.assign(exchange, { own: true, wasSent });
      exchange.attachments = exchange.attachments.map((file, at) => ({ ...file, kept: attachments[at]?.kept }));
      this.#remember(exchange);
    }
    return exchanges;
  }

  /** Keep a message from here until it is answered: its reply may fail, and the relay may forget both. */
  #remember(exchange) {
    if (isOpen(exchange) || exchange.status === "left") this.#markKnown(exchange.conversation);
    if (exchange.status === "replaced") this.#replaced(exchange);
    if (!exchange.own) return;
    const { conversation, id, content, attachments, status, error, wasSent, replaces } = exchange;
    if (isUnanswered(exchange)) {
      const accepted = !isUnsettled(exchange);
      const failure = status === "failed" && (accepted || !error.retryable) ? error : null;
      const kept = { agent: this.agent, run: this.#run, accepted, error: failure };
      this.#keep.saveMessage({ conversation, id, content, attachments, wasSent, replaces, ...kept });
      if (failure && !accepted) this.#refused(exchange);
    } else {
      this.#keep.dropMessage(id);
      if (status !== "withdrawn") for (const { kept } of attachments) if (kept) this.#blobs.drop(kept);
    }
  }

  /** Another message has taken its place, whether from here or from elsewhere. */
  #replaced(exchange) {
    this.transcript.remove(exchange);
    if (this.editing === exchange.id) this.keepAll();
  }

  /** Put a refused message back where it was written. If another draft is there by now, its transcript offers it. */
  #refused(exchange) {
    const { id, conversation, content, attachments } = exchange;
    if (conversation !== this.client.conversation) {
      const there = this.#keep.draft(this.agent, conversation);
      if (there.content || there.files.length) return;
      const isNew = this.#isNew(conversation);
      this.#keep.saveDraft(this.agent, conversation, { content, files: attachments, run: this.#run, isNew });
      this.client.withdraw(id); // from now on it is a draft
    } else {
      if (this.draft || !this.tray.isEmpty) return;
      this.#putBack(exchange);
      exchange.returned = true;
    }
    this.#keep.dropMessage(id);
  }

  /** Upload the files of a message that the relay does not have. */
  async #prepare(exchange) {
    const attachments = [];
    for (const attachment of exchange.attachments) {
      const blob = attachment.url ? null : await this.#blobs.get(attachment.kept);
      if (!attachment.url && !blob) return lost(attachment);
      try {
        attachments.push(blob ? { ...attachment, url: await upload(this.#http, attachment, blob) } : attachment);
      } catch ({ message, code, retryable }) {
        return { content: message, code, retryable };
      }
    }
    exchange.attachments = attachments;
    return null;
  }

  // --- the connection

  async #isAnew(configure) {
    const config = await configure().catch(() => null);
    if (!config || config.run === this.#run) return false;
    this.#run = config.run;
    this.cures = config.cures[this.agent];
    this.tray.renew();
    this.#screen.configured(config);
    return true;
  }

  #connected(connection) {
    this.connection = connection;
    if (connection.state === "online") this.tray.wake();
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

  #noticed({ content, retry_after }) {
    this.transcript.notice({ content: withWait(content, retry_after) });
  }

  #lagged({ ms }) {
    this.lag = ms;
    this.#screen.lagged(this);
  }
}

function withoutUrls(files) {
  return files.map((file) => ({ ...file, url: null }));
}

function newConversation() {
  const bytes = crypto.getRandomValues(new Uint8Array(9));
  return `page-${btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")}`;
}
