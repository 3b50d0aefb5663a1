/** The conversation of one chat: its exchanges in their order, and notices. */

import { news } from "./announcer.js";
import { element } from "./dom.js";
import { ExchangeView, message } from "./exchange.js";

export class Transcript {
  element = element("div", "transcript");
  #views = new Map(); // by exchange
  #name;
  #does;

  /**
   * @param {string} name the agent's
   * @param {object} does
   * @param {(id: string) => void} does.retry
   * @param {(id: string) => void} does.regenerate asks for another reply
   * @param {(id: string) => void} does.edit puts a message that was answered into the composer
   * @param {(id: string) => void} does.withdraw takes a message back that the relay does not have
   * @param {(attachment: object) => HTMLElement} does.showFile
   * @param {() => void} does.drawn called after something on the screen has changed
   */
  constructor(name, does) {
    this.#name = name;
    this.#does = does;
  }

  get isEmpty() {
    return this.element.childElementCount === 0;
  }

  show(exchange) {
    if (!this.#views.has(exchange)) this.element.append(...this.#viewOf(exchange).elements);
    this.#viewOf(exchange).show(exchange);
  }

  /** Put exchanges before all the others. They are drawn at once, so that their height is known, and not read out. */
  recall(exchanges) {
    this.element.prepend(...exchanges.flatMap((exchange) => this.#viewOf(exchange).elements));
    for (const exchange of exchanges) this.#viewOf(exchange).recall(exchange);
    this.#does.drawn();
  }

  /** Put all exchanges in order. Those that stand where they belong stay there, and those that are new are recalled. */
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
    // Whoever opens a conversation hears of it otherwise.
    const what = added === 1 ? "A message" : `${added} messages`;
    if (isBegun && added) news(this.element, `${what} came in meanwhile`);
    this.#does.drawn();
  }

  /** A message was taken back. */
  remove(exchange) {
    for (const part of this.#viewOf(exchange).elements) part.remove();
    this.#views.delete(exchange);
  }

  notice(error) {
    const notice = message("notice");
    notice.hidden = false;
    notice.textContent = error.content;
    notice.setAttribute("aria-label", "Notice");
    this.element.append(notice);
    news(notice, error.content);
    this.#does.drawn();
  }

  clear() {
    this.#views.clear();
    this.element.replaceChildren();
  }

  #viewOf(exchange) {
    if (!this.#views.has(exchange)) {
      const names = ["retry", "withdraw", "regenerate", "edit"];
      const does = Object.fromEntries(names.map((name) => [name, () => this.#does[name](exchange.id)]));
      this.#views.set(exchange, new ExchangeView(this.#name, { ...this.#does, ...does }));
    }
    return this.#views.get(exchange);
  }
}

/** The next exchange's first element behind `element`, or the first of all. Notices belong to no exchange. */
function behind(parent, element) {
  let next = element ? element.nextSibling : parent.firstChild;
  while (next?.dataset.role === "notice") next = next.nextSibling;
  return next;
}
