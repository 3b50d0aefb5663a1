/** The conversation on the screen. Every exchange is drawn from its present state, whatever has happened to it. */

import { AsidesView } from "./asides.js";
import { news } from "./announcer.js";
import { copyButton } from "./clipboard.js";
import { isOpen, isWhole, isWithdrawable } from "../clients/js/client.js";
import { button, element } from "./dom.js";
import { MarkdownView } from "./markdown.js";

// How a reply that ended otherwise than by itself is explained.
const ENDINGS = {
  max_tokens: "It was cut off at the length limit.",
  refusal: "The model declined to go on.",
  model_context_window_exceeded: "The conversation has grown too long for the model.",
  cancelled: "Stopped.",
};

/** Between two drawings the page has this many times as long for everything else as the last one took. */
const REST = 3;
const FRAME_MS = 16;

export class Transcript {
  element = document.createElement("div");
  #views = new Map(); // by exchange
  #name;
  #retry;
  #showFile;
  #drawn;
  #withdraw;

  /**
   * @param {string} name the agent's
   * @param {(id: string) => void} retry
   * @param {(attachment: object) => HTMLElement} showFile
   * @param {() => void} drawn called after something on the screen has changed
   * @param {(id: string) => void} withdraw takes a message back that the relay does not have
   */
  constructor(name, retry, showFile, drawn, withdraw) {
    this.#name = name;
    this.#retry = retry;
    this.#showFile = showFile;
    this.#drawn = drawn;
    this.#withdraw = withdraw;
    this.element.className = "transcript";
  }

  get isEmpty() {
    return this.element.childElementCount === 0;
  }

  show(exchange) {
    if (!this.#views.has(exchange)) this.element.append(...this.#viewOf(exchange).elements);
    this.#viewOf(exchange).show(exchange);
  }

  /** Exchanges that come before all the others; drawn at once, so that their height is known, and not read out. */
  recall(exchanges) {
    this.element.prepend(...exchanges.flatMap((exchange) => this.#viewOf(exchange).elements));
    for (const exchange of exchanges) this.#viewOf(exchange).recall(exchange);
    this.#drawn();
  }

  /** All exchanges in their order; those that stand where they belong stay there, and those that are new are recalled. */
  arrange(exchanges) {
    const isBegun = this.#views.size > 0;
    let added = 0;
    let last = null;
    for (const exchange of exchanges) {
      const isNew = !this.#views.has(exchange);
      const view = this.#viewOf(exchange);
      const { elements } = view;
      if (behind(this.element, last) !== elements[0]) {
        if (last) last.after(...elements);
        else this.element.prepend(...elements);
      }
      added += isNew;
      if (isNew) view.recall(exchange);
      else view.show(exchange);
      last = elements.at(-1);
    }
    // Of a transcript that was empty, whoever opens it is told otherwise.
    const what = added === 1 ? "A message" : `${added} messages`;
    if (isBegun && added) news(this.element, `${what} came in meanwhile`);
    this.#drawn();
  }

  /** A message was taken back. */
  remove(exchange) {
    for (const part of this.#viewOf(exchange).elements) part.remove();
    this.#views.delete(exchange);
  }

  #viewOf(exchange) {
    if (!this.#views.has(exchange)) {
      const retry = () => this.#retry(exchange.id);
      const withdraw = () => this.#withdraw(exchange.id);
      this.#views.set(exchange, new ExchangeView(this.#name, retry, this.#showFile, this.#drawn, withdraw));
    }
    return this.#views.get(exchange);
  }

  notice(error) {
    const notice = message("notice");
    notice.hidden = false;
    notice.textContent = error.content;
    notice.setAttribute("aria-label", "Notice");
    this.element.append(notice);
    news(notice, error.content);
    this.#drawn();
  }

  clear() {
    this.#views.clear();
    this.element.replaceChildren();
  }
}

class ExchangeView {
  #heading = element("h2", "unseen", "You");
  #files = element("div", "files");
  #user = message("user");
  #assistant = message("assistant");
  #asides = new AsidesView();
  #text = element("div", "text");
  #typing = element("div", "typing");
  #foot = element("footer", "foot");
  #name;
  #markdown;
  #retry;
  #showFile;
  #drawn;
  #withdraw;
  #feetOf = null;
  #frame = null;
  #tookMs = 0;
  /** What has been read out: the last state, how many blocks of the reply, and whether the user's own words. */
  #told = { status: null, blocks: 0, words: false };

  constructor(name, retry, showFile, drawn, withdraw) {
    this.#name = name;
    this.#retry = retry;
    this.#showFile = showFile;
    this.#drawn = drawn;
    this.#withdraw = withdraw;
    this.#markdown = new MarkdownView(this.#text);
    this.#text.dataset.testid = "reply-text";
    this.#typing.dataset.testid = "typing";
    this.#typing.append(dots(), element("span"));
    const heading = element("h2", "unseen", name);
    this.#assistant.append(heading, this.#asides.element, this.#text, this.#typing, this.#foot);
  }

  get elements() {
    return [this.#heading, this.#files, this.#user, this.#assistant];
  }

  /** At most once a frame of the screen: text may come more often than anyone can see, or the page can draw. */
  show(exchange) {
    if (this.#frame !== null) return;
    const restMs = this.#tookMs * REST;
    // A hidden page gets no animation frames, but should be up to date when it is looked at.
    const waits = document.hidden || restMs > FRAME_MS;
    const soon = waits ? (draw) => setTimeout(draw, Math.max(restMs, document.hidden ? 100 : 0)) : requestAnimationFrame;
    this.#frame = soon(() => {
      this.#frame = null;
      const began = performance.now();
      this.#draw(exchange);
      this.#tookMs = performance.now() - began;
      this.#tell(exchange);
      this.#drawn();
    });
  }

  /** Draws what was said before. Only what comes from now on is read out. */
  recall(exchange) {
    this.#draw(exchange);
    this.#told = { status: exchange.status, blocks: this.#markdown.finished, words: true };
  }

  #draw(exchange) {
    const { status, attachments, reply } = exchange;
    const content = exchange.truncated ? `${exchange.content}…` : exchange.content;
    if (this.#files.childElementCount !== attachments.length) this.#drawFiles(attachments);
    this.#files.hidden = attachments.length === 0;
    this.#heading.hidden = !content && attachments.length === 0;
    this.#user.hidden = !content;
    if (this.#user.textContent !== content) this.#user.textContent = content;
    this.#user.dataset.status = status;
    this.#user.setAttribute("aria-label", waitsForConnection(exchange) ? "You, waiting for the connection" : "You");
    this.#assistant.dataset.status = status;
    this.#assistant.setAttribute("aria-label", `${this.#name}${condition(exchange)}`);
    this.#assistant.hidden = status === "sent" && !reply;
    this.#asides.show(exchange.asides, exchange.aside);
    this.#text.hidden = !reply?.text;
    this.#markdown.show(reply?.text ?? "", isOpen(exchange));
    this.#drawTyping(exchange);
    this.#drawFeet(exchange);
  }

  /** Reads out what has happened since the last time, in order: who asks, who writes, what is written, how it ended. */
  #tell(exchange) {
    const told = this.#told;
    if (!told.words && exchange.content !== null) this.#tellWords(exchange);
    if (isOpen(exchange) && !isOpen(told)) {
      told.blocks = 0;
      news(this.#assistant, `${this.#name} is typing`);
    }
    for (const text of this.#markdown.spoken(told.blocks)) news(this.#assistant, text);
    told.blocks = this.#markdown.finished;
    if (exchange.status !== told.status) this.#tellEnd(exchange);
    told.status = exchange.status;
  }

  /** Of what was written here, its writer knows. */
  #tellWords({ content, own }) {
    this.#told.words = true;
    if (!own) news(this.#user, `You, elsewhere: ${content}`);
  }

  #tellEnd({ status, end, error }) {
    if (status === "complete") news(this.#assistant, ENDINGS[end.stop_reason] ?? `${this.#name}'s reply is complete`);
    if (status === "failed") news(this.#assistant, error.content);
  }

  #drawFiles(attachments) {
    this.#files.replaceChildren(...attachments.map((attachment) => this.#showFile(attachment)));
  }

  #drawTyping({ status, waits, aside }) {
    this.#typing.hidden = status !== "typing" || aside !== null; // what it does instead shows for itself
    this.#typing.toggleAttribute("data-waits", waits);
    this.#typing.lastChild.textContent = waits ? "Waits for the reply before it" : `${this.#name} is typing…`;
  }

  /** Only when they are others: one of them may have the focus. */
  #drawFeet(exchange) {
    const { status, end, proof, error, preparing, returned } = exchange;
    const offers = [isWhole(exchange), isWithdrawable(exchange), waitsForConnection(exchange), preparing, returned];
    const feetOf = JSON.stringify([status, end?.stop_reason, proof, error, offers]);
    if (feetOf === this.#feetOf) return;
    this.#feetOf = feetOf;
    this.#foot.replaceChildren(...this.#feet(exchange));
  }

  #feet(exchange) {
    const { status, end, proof, reply } = exchange;
    if (waitsForConnection(exchange)) return [this.#waiting(exchange)];
    if (status === "failed") return [this.#failure(exchange), ...this.#copy(exchange)];
    if (status !== "complete") return [];
    const feet = [verdict(proof, reply.text.length), ...this.#copy(exchange)];
    if (ENDINGS[end.stop_reason]) feet.unshift(foot("ending", ENDINGS[end.stop_reason]));
    return feet;
  }

  #waiting(exchange) {
    const waiting = foot("waiting", exchange.preparing ? "Uploading its files" : "Waiting for the connection");
    if (isWithdrawable(exchange)) waiting.append(this.#withdrawButton("Take back"));
    return waiting;
  }

  #withdrawButton(text) {
    const withdraw = button("withdraw", text, this.#withdraw);
    withdraw.dataset.testid = "withdraw";
    return withdraw;
  }

  /** The reply as the model has written it. */
  #copy({ reply }) {
    if (!reply?.text) return [];
    const copy = copyButton("copy", "Copy reply", () => reply.text);
    copy.dataset.testid = "copy-reply";
    return [copy];
  }

  #failure(exchange) {
    const { error } = exchange;
    const box = element("div", "failure");
    box.dataset.testid = "error";
    box.dataset.code = error.code;
    box.append(element("p", "", error.content));
    if (error.retryable && isWhole(exchange)) box.append(this.#retryButton(error.retryAt));
    else if (isWithdrawable(exchange) && !exchange.returned) box.append(this.#withdrawButton("Edit"));
    return box;
  }

  #retryButton(retryAt) {
    const retry = button("retry", "", this.#retry);
    retry.dataset.testid = "retry";
    const count = () => {
      const seconds = Math.ceil((retryAt - Date.now()) / 1000);
      retry.disabled = seconds > 0;
      retry.textContent = seconds > 0 ? `Try again in ${seconds} s` : "Try again";
      if (seconds > 0) setTimeout(count, 250);
    };
    count();
    return retry;
  }
}

/** The next exchange's first element behind `element`, or the first of all; notices belong to no exchange. */
function behind(parent, element) {
  let next = element ? element.nextSibling : parent.firstChild;
  while (next?.dataset.role === "notice") next = next.nextSibling;
  return next;
}

/** Sent by nobody yet. */
function waitsForConnection({ status, sentAt }) {
  return status === "queued" && sentAt === null;
}

/** What is to be known of a reply before it is read. */
function condition({ status, end, waits }) {
  if (status === "typing") return waits ? ", waiting" : ", typing";
  if (status === "writing") return ", being written";
  if (status === "failed") return ", failed";
  return { cancelled: ", stopped", max_tokens: ", cut off", refusal: ", declined" }[end?.stop_reason] ?? "";
}

function verdict(proof, length) {
  const count = `${length.toLocaleString("en")} characters`;
  const [text, title] = {
    verified: [`✓ ${count}`, "Length and SHA-256 agree with what the server sent."],
    unchecked: [count, "This page cannot compute SHA-256 here, so only the length was compared."],
    kept: [count, "As the server has kept it."],
    different: ["⚠ This text is not what the server sent", "Length or SHA-256 differs from the server's."],
  }[proof] ?? ["", ""];
  const mark = foot(proof ?? "proving", text);
  mark.title = title;
  mark.dataset.testid = "proof";
  mark.dataset.proof = proof ?? "";
  return mark;
}

function foot(name, text) {
  return element("span", `foot-${name}`, text);
}

function message(role) {
  const article = element("article", `message ${role}`);
  article.dataset.testid = "message";
  article.dataset.role = role;
  article.hidden = true;
  return article;
}

function dots() {
  const dots = element("span", "dots");
  dots.setAttribute("aria-hidden", "true");
  dots.append(element("i"), element("i"), element("i"));
  return dots;
}
