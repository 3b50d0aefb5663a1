/**
 * Draws Markdown while it is being written.
 *
 * Every top-level block has its own element. Only blocks whose source changed are drawn again, and within them only the
 * nodes that differ are replaced, so that what is there keeps its focus, its scroll position and a reader's selection.
 */

import { completed } from "../complete_markdown.js";
import { parse, render } from "../markdown.js";
import DOMPurify from "../vendor/purify.es.js";
import { copyButton } from "./clipboard.js";
import { element, scrollable, write } from "./dom.js";

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "INPUT") {
    node.setAttribute("type", "checkbox"); // of a task list; never a field to type into
    node.setAttribute("aria-label", node.hasAttribute("checked") ? "Done" : "To do");
  }
  if (node.tagName !== "A") return;
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer");
});

const ALLOWED = {
  USE_PROFILES: { html: true },
  FORBID_TAGS: ["style", "form", "button", "select", "textarea", "img", "picture", "video", "audio", "dialog"],
  FORBID_ATTR: ["style", "class", "id", "name"],
  RETURN_DOM_FRAGMENT: true,
};

const NOTHING = { text: "", blocks: 0, items: 0, loose: false };

export class MarkdownView {
  #element;
  #text = "";
  #isOpen = true;
  /**
   * The part of the text that does not change any more while it grows, and is not parsed again: that many blocks, and
   * that many items of the list after them.
   */
  #head = NOTHING;
  /** The token that each block shows, of the blocks that may change. */
  #tokens = [];
  #isPlain = false;

  constructor(element) {
    this.#element = element;
  }

  /** @param {boolean} isOpen whether more text will come */
  show(text, isOpen) {
    if (text === this.#text && isOpen === this.#isOpen) return;
    const isOther = !text.startsWith(this.#text);
    if (isOther) this.#isPlain = false;
    // At the end the whole text is parsed once more: a link's definition may have come after the link.
    if (isOther || (!isOpen && !this.#isPlain)) this.#begin();
    [this.#text, this.#isOpen] = [text, isOpen];
    if (this.#isPlain || !this.#drew()) this.#showPlain();
  }

  /** The number of complete blocks. */
  get finished() {
    const blocks = this.#element.childElementCount;
    return this.#isOpen ? Math.max(0, blocks - 1) : blocks;
  }

  /** Return what is read out of the complete blocks, from that index on. */
  spoken(from) {
    return [...this.#element.children].slice(from, this.finished).map(spoken);
  }

  #begin() {
    this.#head = NOTHING;
    this.#tokens = [];
  }

  get #tail() {
    return this.#text.slice(this.#head.text.length);
  }

  /** Whether the text could be drawn. What the parser or the sanitizer cannot bear, people can still read. */
  #drew() {
    try {
      this.#draw();
    } catch {
      this.#isPlain = true;
    }
    return !this.#isPlain;
  }

  #draw() {
    const text = this.#isOpen ? completed(this.#tail) : this.#tail;
    const tokens = parse(text).filter(({ type }) => type !== "space" && type !== "def");
    const { blocks, items, loose } = this.#head;
    if (items && (tokens[0]?.type !== "list" || tokens[0].loose !== loose)) {
      this.#begin(); // more text has made it another kind of list
      return this.#draw();
    }
    for (const [index, token] of tokens.entries()) this.#showBlock(token, blocks + index, index === 0 ? items : 0);
    this.#cut(blocks + tokens.length);
    if (this.#isOpen && tokens.length) this.#freeze(tokens);
  }

  /** @param {number} above how many items of the list are not in its token any more */
  #showBlock(token, index, above) {
    const before = this.#tokens[index];
    if (before?.raw === token.raw) return;
    const block = this.#element.children[index] ?? this.#element.appendChild(element("div", "block"));
    const same = commonItems(before, token);
    const drawn = DOMPurify.sanitize(render([same ? { ...token, items: token.items.slice(same) } : token]), ALLOWED);
    drawn.querySelectorAll("pre").forEach(frameCode);
    drawn.querySelectorAll("table").forEach(frameTable);
    // Between two items marked writes a line end, which is a node too.
    if (above + same) merge(block.firstChild, drawn.firstChild, 2 * (above + same));
    else merge(block, drawn);
    block.dataset.type = token.type;
    this.#tokens[index] = token;
  }

  /** Freeze what cannot change any more: it has two blocks after a blank line, or two items of its list, behind it. */
  #freeze(tokens) {
    const { text, blocks, items } = this.#head;
    const { items: listed = [], loose } = tokens.at(-1);
    const done = tokens.slice(0, -1);
    if (listed.length > 3) {
      const start = startOfLast([...done, ...listed.slice(0, -1)], this.#tail);
      if (start < 0) return;
      const above = (done.length ? 0 : items) + listed.length - 2;
      this.#head = { text: text + this.#tail.slice(0, start), blocks: blocks + done.length, items: above, loose };
      this.#tokens[blocks + done.length] = { ...tokens.at(-1), raw: null, items: listed.slice(-2) };
    } else if (done.length > 1) {
      const start = startOfLast(done, this.#tail);
      if (start < 0 || !/\n[ \t]*\n$/.test(this.#tail.slice(0, start))) return;
      this.#head = { ...NOTHING, text: text + this.#tail.slice(0, start), blocks: blocks + done.length - 1 };
    }
  }

  #showPlain() {
    if (this.#head.items) this.#begin(); // a list cannot go on as plain text
    const { blocks } = this.#head;
    const block = this.#element.children[blocks] ?? this.#element.appendChild(element("div", "block"));
    const written = element("div");
    written.append(element("p", "", this.#tail));
    merge(block, written);
    block.dataset.type = "plain";
    this.#tokens[blocks] = undefined;
    this.#cut(blocks + 1);
  }

  #cut(count) {
    while (this.#element.children.length > count) this.#element.lastChild.remove();
    this.#tokens.length = count;
  }
}

/** Return where the last of these consecutive pieces begins in the text; -1 if they do not follow each other. */
function startOfLast(pieces, text) {
  let start = 0;
  let end = 0;
  for (const { raw } of pieces) {
    start = text.indexOf(raw, end);
    if (start < 0) return -1;
    end = start + raw.length;
  }
  return start;
}

/** Return how many of a growing list's items are as they were. */
function commonItems(before, after) {
  if (before?.type !== "list" || after.type !== "list" || before.loose !== after.loose) return 0;
  if (before.ordered !== after.ordered) return 0;
  const different = after.items.findIndex(({ raw }, index) => raw !== before.items[index]?.raw);
  return different < 0 ? after.items.length : different;
}

/** Make the children of `parent`, from that index on, equal to those of `drawn`. */
function merge(parent, drawn, from = 0) {
  const present = [...parent.childNodes].slice(from);
  const wanted = [...drawn.childNodes];
  wanted.forEach((node, index) => {
    const old = present[index];
    if (!old) parent.append(node);
    else if (old.nodeName !== node.nodeName) old.replaceWith(node);
    else if (old.nodeType === Node.TEXT_NODE) write(old, node.data);
    else if (old.nodeName !== "BUTTON") mergeElement(old, node); // a button keeps the word it shows
  });
  for (const old of present.slice(wanted.length)) old.remove();
}

function mergeElement(old, { attributes, childNodes }) {
  for (const { name } of [...old.attributes]) if (!attributes.getNamedItem(name)) old.removeAttribute(name);
  for (const { name, value } of attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  merge(old, { childNodes });
}

/** Put a bar with the language and a copy button above the code. */
function frameCode(pre) {
  const frame = element("div", "code");
  const bar = element("div", "code-bar");
  const copy = copyButton("", "Copy", () => copy.closest(".code").querySelector("pre").textContent);
  bar.append(element("span", "", pre.dataset.language), copy);
  pre.replaceWith(frame);
  frame.append(bar, scrollable(pre, `Code, ${pre.dataset.language}`));
}

function frameTable(table) {
  const frame = scrollable(element("div", "table"), "Table");
  table.replaceWith(frame);
  frame.append(table);
}

function spoken(block) {
  const said = block.cloneNode(true);
  for (const bar of said.querySelectorAll(".code-bar")) bar.replaceWith(`Code, ${bar.firstChild.textContent}:\n`);
  for (const lineEnd of said.querySelectorAll("br")) lineEnd.replaceWith("\n");
  return said.textContent.trim();
}
