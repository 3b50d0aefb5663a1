/**
 * Makes Markdown that stops in the middle look like what it is going to be. No DOM.
 *
 * Without this, `**bold` shows its asterisks until the closing ones arrive, and a table is a line of pipes until its
 * second line is there. Fences need no help: one that is not closed yet is code to the end.
 */

const FENCE = /^ {0,3}(`{3,}|~{3,})/;

/** @param {string} text Markdown up to now */
export function settled(text) {
  const start = lastBlockStart(text);
  const block = text.slice(start);
  if (FENCE.test(block)) return text;
  return text.slice(0, start) + closed(withoutHalfTable(withoutHalfMarker(block)));
}

/** Where the last paragraph, list item, row or open fence begins. */
function lastBlockStart(text) {
  let at = 0;
  let start = 0;
  let fence = null;
  for (const line of text.split("\n")) {
    const next = at + line.length + 1;
    const mark = FENCE.exec(line)?.[1];
    if (fence === null && mark) [fence, start] = [mark, at];
    else if (fence !== null && mark?.startsWith(fence) && line.trim() === mark) [fence, start] = [null, next];
    else if (fence === null && line.trim() === "") start = next;
    at = next;
  }
  return Math.min(start, text.length);
}

/** A last line of nothing but the beginning of a fence, a list item, a heading or a rule is not shown yet. */
function withoutHalfMarker(block) {
  return block.replace(/(^|\n)[ \t]*(`{1,2}|~{1,2}|[-*+]|#{1,6}|\d+\.?|>)[ \t]*$/, "$1");
}

/** A table is a table from its second line on. */
function withoutHalfTable(block) {
  const lines = block.split("\n");
  if (!/^\s*\|/.test(lines[0])) return block;
  const delimited = lines.length > 2 || (lines.length === 2 && isDelimiter(lines[1], lines[0]));
  return delimited ? block : "";
}

function isDelimiter(line, header) {
  const columns = (row) => row.trim().replace(/^\||\|$/g, "").split("|").length;
  return /^\s*\|[\s:|-]+\|\s*$/.test(line) && columns(line) === columns(header);
}

/** Closes what the last line opened and left open: code, bold, emphasis. */
function closed(block) {
  const line = block.slice(block.lastIndexOf("\n") + 1);
  const open = line
    .replace(/^\s*[*+-]\s/, "")
    .replace(/`[^`]*`/g, "")
    .replace(/\*\*\S.*?\*\*/g, "")
    .replace(/(^|[^\w*])\*[^\s*][^*]*\*(?!\*)/g, "$1");
  if (open.includes("`")) return `${block}\``;
  const bare = block.replace(/[ \t*]+$/, "");
  if (/\*\*[^\s*]/.test(open)) return `${bare}**`;
  if (/(^|[^\w*])\*[^\s*]/.test(open)) return `${bare}*`;
  return /\*$/.test(open) ? bare : block;
}
