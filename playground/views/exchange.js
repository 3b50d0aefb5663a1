/** One exchange: what the user says, with its files, and the reply. It is drawn from its present state. */

import { isOpen } from "../../clients/js/client.js";
import { news } from "./announcer.js";
import { element } from "./dom.js";
import { ENDINGS, Foot, waitsForConnection } from "./foot.js";
import { PartsView } from "./parts.js";

/** Between two drawings the page has this many times as long for everything else as the last drawing took. */
const REST = 3;
const FRAME_MS = 16;
const HIDDEN_MS = 100;

export class ExchangeView {
  #heading = element("h2", "unseen", "You");
  #files = element("div", "files");
  #user = message("user");
  #assistant = message("assistant");
  #parts = new PartsView();
  #typing = element("div", "typing");
  #foot;
  #name;
  #showFile;
  #drawn;
  #frame = null;
  #tookMs = 0;
  /** What has been read out: the last status, how many blocks of which reply, and whether the user's own words. */
  #told = { status: null, reply: undefined, blocks: 0, words: false };

  /**
   * @param {string} name the agent's
   * @param {object} does
   * @param {() => void} does.retry
   * @param {() => void} does.withdraw
   * @param {() => void} does.regenerate
   * @param {() => void} does.edit
   * @param {(attachment: object) => HTMLElement} does.showFile
   * @param {() => void} does.drawn called after something on the screen has changed
   */
  constructor(name, { retry, withdraw, regenerate, edit, showFile, drawn }) {
    this.#name = name;
    this.#showFile = showFile;
    this.#drawn = drawn;
    this.#foot = new Foot({ retry, withdraw, regenerate, edit });
    this.#typing.dataset.testid = "typing";
    this.#typing.append(dots(), element("span"));
    const heading = element("h2", "unseen", name);
    this.#assistant.append(heading, this.#parts.element, this.#typing, this.#foot.element);
  }

  get elements() {
    return [this.#heading, this.#files, this.#user, this.#assistant];
  }

  /** Draw at most once a frame of the screen: text may come more often than anyone can see, or the page can draw. */
  show(exchange) {
    if (this.#frame !== null) return;
    const restMs = this.#tookMs * REST;
    // A hidden page gets no animation frames, but should be up to date when it is looked at.
    const waits = document.hidden || restMs > FRAME_MS;
    const delayMs = Math.max(restMs, document.hidden ? HIDDEN_MS : 0);
    const soon = waits ? (draw) => setTimeout(draw, delayMs) : requestAnimationFrame;
    this.#frame = soon(() => {
      this.#frame = null;
      const began = performance.now();
      this.#draw(exchange);
      this.#tookMs = performance.now() - began;
      this.#tell(exchange);
      this.#drawn();
    });
  }

  /** Draw what was said before. Only what comes from now on is read out. */
  recall(exchange) {
    this.#draw(exchange);
    const { status, reply } = exchange;
    this.#told = { status, reply: reply?.id, blocks: this.#parts.finished, words: true };
  }

  #draw(exchange) {
    this.#drawUser(exchange);
    const { status, reply } = exchange;
    this.#assistant.dataset.status = status;
    this.#assistant.setAttribute("aria-label", `${this.#name}${condition(exchange)}`);
    this.#assistant.hidden = status === "sent" && !reply;
    this.#parts.show(reply, isOpen(exchange));
    this.#drawTyping(exchange);
    this.#foot.show(exchange);
  }

  #drawUser(exchange) {
    const { status, attachments } = exchange;
    const content = exchange.truncated ? `${exchange.content}…` : exchange.content;
    if (this.#files.childElementCount !== attachments.length) {
      this.#files.replaceChildren(...attachments.map((attachment) => this.#showFile(attachment)));
    }
    this.#files.hidden = attachments.length === 0;
    this.#heading.hidden = !content && attachments.length === 0;
    this.#user.hidden = !content;
    if (this.#user.textContent !== content) this.#user.textContent = content;
    this.#user.dataset.status = status;
    this.#user.setAttribute("aria-label", waitsForConnection(exchange) ? "You, waiting for the connection" : "You");
  }

  #drawTyping(exchange) {
    const { waits } = exchange;
    this.#typing.hidden = !isOpen(exchange) || this.#parts.isLive; // what is being written shows for itself
    this.#typing.toggleAttribute("data-waits", waits);
    this.#typing.lastChild.textContent = waits ? "Waits for the reply before it" : `${this.#name} is typing…`;
  }

  /** Read out what has happened since the last time, in order: who asks, who writes, what is written, how it ended. */
  #tell(exchange) {
    const told = this.#told;
    if (!told.words && exchange.content !== null) this.#tellWords(exchange);
    if (exchange.reply?.id !== told.reply) told.blocks = 0;
    told.reply = exchange.reply?.id;
    if (isOpen(exchange) && !isOpen(told)) {
      news(this.#assistant, `${this.#name} is typing`);
    }
    for (const text of this.#parts.spoken(told.blocks)) news(this.#assistant, text);
    told.blocks = this.#parts.finished;
    if (exchange.status !== told.status) this.#tellEnd(exchange);
    told.status = exchange.status;
  }

  /** Whoever wrote here knows what. */
  #tellWords({ content, own }) {
    this.#told.words = true;
    if (!own) news(this.#user, `You, elsewhere: ${content}`);
  }

  #tellEnd({ status, end, error }) {
    if (status === "complete") news(this.#assistant, ENDINGS[end.stop_reason] ?? `${this.#name}'s reply is complete`);
    if (status === "failed") news(this.#assistant, error.content);
  }
}

/** What a listener should know of a reply before it is read out. */
function condition({ status, end, waits }) {
  if (status === "typing") return waits ? ", waiting" : ", typing";
  if (status === "writing") return ", being written";
  if (status === "failed") return ", failed";
  return { cancelled: ", stopped", max_tokens: ", cut off", refusal: ", declined" }[end?.stop_reason] ?? "";
}

export function message(role) {
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
