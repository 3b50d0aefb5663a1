/** The conversation on the screen. Every exchange is drawn from its present state, whatever has happened to it. */

import { AsidesView } from "./asides.js";
import { isWhole, isWithdrawable } from "./client.js";
import { button, element } from "./dom.js";
import { MarkdownView } from "./markdown.js";

// How a reply that ended otherwise than by itself is explained.
const ENDINGS = {
  max_tokens: "It was cut off at the length limit.",
  refusal: "The model declined to go on.",
  model_context_window_exceeded: "The conversation has grown too long for the model.",
  cancelled: "Stopped.",
};

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
    this.element.setAttribute("role", "log");
    // Reading every few letters aloud helps nobody; the page announces beginnings and ends instead.
    this.element.setAttribute("aria-live", "off");
  }

  get isEmpty() {
    return this.element.childElementCount === 0;
  }

  show(exchange) {
    if (!this.#views.has(exchange)) this.element.append(...this.#viewOf(exchange).elements);
    this.#viewOf(exchange).show(exchange);
  }

  /** Exchanges that come before all the others; drawn at once, so that their height is known. */
  recall(exchanges) {
    this.element.prepend(...exchanges.flatMap((exchange) => this.#viewOf(exchange).elements));
    for (const exchange of exchanges) this.#viewOf(exchange).draw(exchange);
    this.#drawn();
  }

  /** All exchanges in their order; those that stand where they belong stay there. */
  arrange(exchanges) {
    let last = null;
    for (const exchange of exchanges) {
      const { elements } = this.#viewOf(exchange);
      if (behind(this.element, last) !== elements[0]) {
        if (last) last.after(...elements);
        else this.element.prepend(...elements);
      }
      this.#viewOf(exchange).draw(exchange);
      last = elements.at(-1);
    }
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
    const notice = element("article", "message notice");
    notice.dataset.testid = "message";
    notice.dataset.role = "notice";
    notice.textContent = error.content;
    this.element.append(notice);
    this.#drawn();
  }

  clear() {
    this.#views.clear();
    this.element.replaceChildren();
  }
}

class ExchangeView {
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
  #frame = null;

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
    this.#assistant.append(this.#asides.element, this.#text, this.#typing, this.#foot);
  }

  get elements() {
    return [this.#files, this.#user, this.#assistant];
  }

  /** At most once a frame of the screen: text may come more often than anyone can see. */
  show(exchange) {
    if (this.#frame !== null) return;
    // A hidden page gets no animation frames, but should be up to date when it is looked at.
    const soon = document.hidden ? (draw) => setTimeout(draw, 100) : requestAnimationFrame;
    this.#frame = soon(() => {
      this.#frame = null;
      this.draw(exchange);
      this.#drawn();
    });
  }

  draw(exchange) {
    const { status, attachments, reply } = exchange;
    const content = exchange.truncated ? `${exchange.content}…` : exchange.content;
    if (this.#files.childElementCount !== attachments.length) this.#drawFiles(attachments);
    this.#files.hidden = attachments.length === 0;
    this.#user.hidden = !content;
    if (this.#user.textContent !== content) this.#user.textContent = content;
    this.#user.dataset.status = status;
    this.#assistant.dataset.status = status;
    this.#assistant.hidden = status === "sent" && !reply;
    this.#asides.show(exchange.asides, exchange.aside);
    this.#text.hidden = !reply?.text;
    this.#markdown.show(reply?.text ?? "", status === "typing" || status === "writing");
    this.#drawTyping(exchange);
    this.#foot.replaceChildren(...this.#feet(exchange));
  }

  #drawFiles(attachments) {
    this.#files.replaceChildren(...attachments.map((attachment) => this.#showFile(attachment)));
  }

  #drawTyping({ status, waits, aside }) {
    this.#typing.hidden = status !== "typing" || aside !== null; // what it does instead shows for itself
    this.#typing.toggleAttribute("data-waits", waits);
    this.#typing.lastChild.textContent = waits ? "Waits for the reply before it" : `${this.#name} is typing…`;
  }

  #feet(exchange) {
    const { status, end, proof, reply, sentAt } = exchange;
    if (status === "queued" && sentAt === null) return [this.#waiting(exchange)];
    if (status === "failed") return [this.#failure(exchange)];
    if (status !== "complete") return [];
    const feet = [verdict(proof, reply.text.length)];
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

  #failure(exchange) {
    const { error } = exchange;
    const box = element("div", "failure");
    box.dataset.testid = "error";
    box.dataset.code = error.code;
    box.setAttribute("role", "alert");
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
