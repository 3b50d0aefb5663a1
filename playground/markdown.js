/**
 * Markdown as models write it: marked, with formulas as written, next to no HTML, and a limit on its time. No DOM.
 */

import { Lexer, Marked } from "./vendor/marked.esm.js";

/** Far more than a reply needs, even on a slow machine. */
const LIMIT_MS = 1000;
const PLAIN_TAG = /^<\/?(br|sub|sup|kbd|b|i|u|s|mark|small)\s*\/?>$/i;
// A dollar is a formula's only if it touches what is inside, and no digit follows: prices stay prices (Pandoc's rule).
const FORMULA = /^(?:\\\(.+?\\\)|\\\[.+?\\\]|\$\$.+?\$\$|\$(?=[^\s$])[^$\n]*?[^\s$\\]\$(?!\d)|\$[^\s$\\]\$(?!\d))/s;
const FORMULA_BLOCK = /^(?:\\\[.+?\\\]|\$\$.+?\$\$)[ \t]*(?:\n+|$)/s;
/** Headings of the page and of its messages come before those of a reply. */
const LEVELS_ABOVE = 2;

let deadline = Infinity;

const marked = new Marked({
  extensions: [
    limit("block"),
    limit("inline"),
    {
      name: "formulas",
      level: "block",
      start: (source) => source.match(/\n(?:\\\[|\$\$)/)?.index,
      tokenizer: (source) => formula("formulas", FORMULA_BLOCK.exec(source)),
      renderer: ({ text }) => `<p><code>${escapeHtml(text)}</code></p>`,
    },
    {
      name: "formula",
      level: "inline",
      start: (source) => source.match(/\\[([]|\$/)?.index,
      tokenizer: (source) => formula("formula", FORMULA.exec(source)),
      renderer: ({ text }) => `<code>${escapeHtml(text)}</code>`,
    },
  ],
  renderer: {
    // The page may load nothing from elsewhere, so a picture becomes a link to it.
    image: ({ href, text }) => `<a href="${escapeHtml(href)}">${escapeHtml(text || href)}</a>`,
    // HTML is shown as it was written, but for the plainest tags: a model that explains HTML means it so.
    html: ({ text }) => (PLAIN_TAG.test(text.trim()) ? text : escapeHtml(text)),
    heading({ tokens, depth }) {
      const level = Math.min(6, depth + LEVELS_ABOVE);
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    },
    code: ({ text, lang }) =>
      `<pre data-language="${escapeHtml(lang?.split(/\s/)[0] || "text")}"><code>${escapeHtml(text)}</code></pre>`,
  },
});

/**
 * Return the blocks of a Markdown text, as marked's tokens.
 *
 * @throws {Error} if the text takes too long, or is nested more deeply than the stack
 */
export function parse(text) {
  deadline = performance.now() + LIMIT_MS;
  try {
    return new Lexer(marked.defaults).lex(text);
  } finally {
    deadline = Infinity;
  }
}

/** Return the HTML of such blocks, not sanitized. */
export function render(tokens) {
  return marked.parser(tokens);
}

/** Give up when time is over: marked asks its extensions at every token. */
function limit(level) {
  return {
    name: `${level} limit`,
    level,
    tokenizer() {
      if (performance.now() > deadline) throw new Error("This text takes too long.");
    },
  };
}

function formula(type, match) {
  return match ? { type, raw: match[0], text: match[0].trim() } : undefined;
}

function escapeHtml(text) {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
