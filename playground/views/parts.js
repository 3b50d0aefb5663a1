/**
 * A reply, part by part in the log's order: its texts, and what the model did and cited between them.
 *
 * What is there is never moved and only drawn anew where it differs, so that it keeps its focus, a reader's selection,
 * and whether it is unfolded. The same parts give the same elements, however they came.
 */

import { sections } from "../sections.js";
import { AsideView } from "./asides.js";
import { element } from "./dom.js";
import { link, linkList } from "./links.js";
import { MarkdownView } from "./markdown.js";

export class PartsView {
  element = element("div", "parts");
  /** Whether the last part shows that more is coming: it is being written, or a tool is running. */
  isLive = false;
  #reply = null;
  #views = new Map(); // by kind and number of the first part, in their order

  constructor() {
    this.show(null, false);
  }

  show(reply, isOpen) {
    const shown = sections(reply?.parts ?? [], isOpen);
    const last = shown.at(-1);
    this.isLive = last?.kind === "text" ? last.isOpen : Boolean(last?.steps?.some((step) => step.isLive));
    // Where the text of the answer will be, before there is any.
    if (!shown.some(({ kind }) => kind === "text")) shown.push({ kind: "text", number: null, content: "", isOpen });
    const before = reply?.id === this.#reply ? this.#views : new Map();
    this.#reply = reply?.id;
    const views = shown.map((section) => {
      const key = `${section.kind} ${section.number}`;
      return [key, before.get(key) ?? new VIEWS[section.kind](), section];
    });
    const kept = new Set(views.map(([, view]) => view));
    for (const view of this.#views.values()) if (!kept.has(view)) view.element.remove();
    this.#views = new Map(views);
    for (const [index, [, view, section]] of views.entries()) {
      view.show(section);
      const there = this.element.children[index] ?? null;
      if (there !== view.element) this.element.insertBefore(view.element, there);
    }
  }

  /** The number of complete blocks of the texts. */
  get finished() {
    return this.#texts.reduce((blocks, { finished }) => blocks + finished, 0);
  }

  /** Return what is read out of the complete blocks, from that index on. */
  spoken(from) {
    const said = [];
    for (const text of this.#texts) {
      said.push(...text.spoken(from));
      from = Math.max(0, from - text.finished);
    }
    return said;
  }

  get #texts() {
    return [...this.#views.values()].filter((view) => view instanceof TextView);
  }
}

class TextView {
  element = element("div", "text");
  #markdown = new MarkdownView(this.element);

  constructor() {
    this.element.dataset.testid = "reply-text";
  }

  show({ content, isOpen }) {
    this.element.hidden = content === "";
    this.#markdown.show(content, isOpen);
  }

  get finished() {
    return this.#markdown.finished;
  }

  spoken(from) {
    return this.#markdown.spoken(from);
  }
}

class SourcesView {
  element = linkList("sources", "Sources", []);
  #drawn = "";

  constructor() {
    this.element.dataset.testid = "sources";
  }

  show({ pages }) {
    const wanted = JSON.stringify(pages);
    if (wanted === this.#drawn) return;
    this.#drawn = wanted;
    this.element.replaceChildren(...pages.map(link));
  }
}

const VIEWS = { text: TextView, aside: AsideView, sources: SourcesView };
