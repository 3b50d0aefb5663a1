/**
 * Draws Markdown while it is being written.
 *
 * Every top-level block has its own element, and only blocks whose source changed are drawn again, so that what is
 * finished neither flickers nor loses a reader's selection.
 */

import DOMPurify from "./vendor/purify.es.js";
import { lexer, parser, use } from "./vendor/marked.esm.js";
import { settled } from "./unfinished.js";

const PLAIN_TAG = /^<\/?(br|sub|sup|kbd|b|i|u|s|mark|small)\s*\/?>$/i;

use({
  renderer: {
    // The page may load nothing from elsewhere, so a picture becomes a link to it.
    image: ({ href, text }) => `<a href="${escape(href)}">${escape(text || href)}</a>`,
    // Other HTML than the plainest is shown as it was written. A model that explains HTML means it so.
    html: ({ text }) => (PLAIN_TAG.test(text.trim()) ? text : escape(text)),
  },
});

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "INPUT") node.setAttribute("type", "checkbox"); // a task list's, and nothing to type into
  if (node.tagName !== "A") return;
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer");
});

const ALLOWED = {
  USE_PROFILES: { html: true },
  FORBID_TAGS: ["style", "form", "button", "select", "textarea", "img", "picture", "video", "audio", "dialog"],
  FORBID_ATTR: ["style", "class", "id", "name"],
};

export class MarkdownView {
  #element;
  #sources = [];

  constructor(element) {
    this.#element = element;
  }

  /** @param {boolean} open whether more text will come */
  show(text, open) {
    const tokens = lexer(open ? settled(text) : text).filter(({ type }) => type !== "space" && type !== "def");
    tokens.forEach((token, index) => this.#showBlock(token, index));
    while (this.#element.children.length > tokens.length) this.#element.lastChild.remove();
    this.#sources.length = tokens.length;
  }

  #showBlock(token, index) {
    if (this.#sources[index] === token.raw) return;
    this.#sources[index] = token.raw;
    const block = this.#element.children[index] ?? this.#element.appendChild(newBlock());
    block.innerHTML = DOMPurify.sanitize(parser([token]), ALLOWED);
    block.dataset.type = token.type;
    if (token.type === "code") labelCode(block, token);
  }
}

function newBlock() {
  const block = document.createElement("div");
  block.className = "block";
  return block;
}

function labelCode(block, token) {
  const bar = document.createElement("div");
  bar.className = "code-bar";
  const language = document.createElement("span");
  language.textContent = token.lang?.split(/\s/)[0] || "text";
  const copy = document.createElement("button");
  copy.type = "button";
  copy.textContent = "Copy";
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(token.text);
    copy.textContent = "Copied";
  });
  bar.append(language, copy);
  block.prepend(bar);
}

function escape(text) {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
