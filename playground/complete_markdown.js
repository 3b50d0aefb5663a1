/**
 * Completes Markdown that stops in the middle, so that it looks like what it is going to be. No DOM.
 *
 * Without this, `**bold` shows its asterisks until the closing ones arrive, and a table is a line of pipes until its
 * second line is there. The parser itself says where the text stops: within code of any kind nothing is completed.
 */

import { parse } from "./markdown.js";

/** A last line of nothing but beginnings: of quotes and items, then of a fence, heading, rule, task or row. */
const HALF_MARKERS =
  /(^|\n)(?:[ \t]*(?:>|(?:[-*+]|\d+[.)])(?=[ \t])))*[ \t]*(?:`{1,2}|~{1,2}|[-*_=]+|[+|>]|#{1,6}|\d+[.)]?|\[[ xX]?\]?)?[ \t]*$/;
/** Opens or closes something: only what follows will show which. */
const HALF_DELIMITER = /(?<!\\)(?:[*_~`$]+|\\[[(]?)[ \t]*$/;
/** Nothing within these is Markdown. */
const VERBATIM = /`+|\\\(|\\\[|\$\$/;
const CLOSING = { "\\(": "\\)", "\\[": "\\]" };
const EMPHASIS = /(?<![\w*_~])(?:\*{1,3}|_{1,3}|~~)(?=[^\s*_~])/g;

/** @param {string} text Markdown up to now */
export function completed(text) {
  const leaf = lastLeaf(parse(text));
  if (leaf === null || leaf.type === "html") return text;
  if (leaf.type === "code") return withoutHalfFence(text, leaf);
  return closed(text.replace(HALF_MARKERS, "$1").replace(HALF_DELIMITER, ""));
}

/** Return the innermost block at the end of the text; null if there is none, or if blank lines follow it. */
function lastLeaf(tokens) {
  const last = tokens.at(-1);
  if (last === undefined || last.type === "space") return null;
  const within = { list: last.items, list_item: last.tokens, blockquote: last.tokens }[last.type];
  return within?.length ? lastLeaf(within) : last;
}

function withoutHalfFence(text, { raw }) {
  const [fence] = /^ {0,3}(`{3,}|~{3,})/.exec(raw)?.slice(1) ?? [];
  const [line, run] = /\n[ \t>]*(`+|~+)$/.exec(text) ?? [];
  return run && fence?.startsWith(run) && run !== fence ? text.slice(0, -line.length) : text;
}

/** Close what the innermost block has left open: code, formulas, links, emphasis. */
function closed(text) {
  const leaf = lastLeaf(parse(text));
  if (leaf === null || leaf.type === "code" || leaf.type === "html") return text;
  if (isHalfTable(leaf))
    return text
      .split(/(?<=\n)/)
      .slice(0, -lines(leaf))
      .join("");
  const ending = closing(unparsed(inlines(leaf)));
  return ending ? text.trimEnd() + ending : text;
}

/** A table is a table from its second line on. */
function isHalfTable({ type, raw }) {
  return (type === "paragraph" || type === "text") && /^\s*\|/.test(raw) && lines({ raw }) <= 2;
}

function lines({ raw }) {
  return raw.trimEnd().split("\n").length;
}

function inlines(leaf) {
  const cells = leaf.type === "table" ? [leaf.header, ...leaf.rows].at(-1).filter(({ text }) => text) : [];
  return (cells.at(-1) ?? leaf).tokens ?? [];
}

/** Return what the parser took for mere text. Everything that is closed counts as a letter. */
function unparsed(tokens) {
  const isText = ({ type, raw }) => type === "text" || (type === "escape" && VERBATIM.test(raw));
  return tokens.map((token) => (isText(token) ? token.raw : "x")).join("");
}

function closing(text) {
  const [verbatim] = VERBATIM.exec(text) ?? [];
  const before = verbatim ? text.slice(0, text.indexOf(verbatim)) : text;
  const within = verbatim ? (CLOSING[verbatim] ?? verbatim) : /\[[^\][]*\]\([^()\s]*$/.test(text) ? ")" : "";
  return (
    within +
    [...before.matchAll(EMPHASIS)]
      .map(([mark]) => mark)
      .reverse()
      .join("")
  );
}
