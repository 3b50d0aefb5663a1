/** What a reply's log is for a reader: sections in its order, and what a line says of each step beside the text. No DOM. */

/** What a part is shown as. A tool's result stands with its call; parts of other types are not shown. */
const SECTIONS = { message: "text", reasoning: "aside", tool: "aside", source: "sources" };
const SEARCH = "web_search";
const FATES = {
  failed: { alone: "failed", counted: "failed" },
  unfinished: { alone: "was not finished", counted: "not finished" },
};

/**
 * Return the sections of a log, each with the `number` of its first part:
 *
 *   {kind: "text", content, isOpen}  one part of the answer
 *   {kind: "aside", steps}           thoughts and tools that follow each other: {type: "thought", content, isLive} and
 *                                    {type: "tool", name, input, result, state, isLive}, where `result` is a part or null
 *   {kind: "sources", pages}         {url, title} of each page that the text before it cites
 *
 * @param {object[]} parts as `clients/js/assembly.js` has them
 * @param {boolean} isOpen whether more of the log will come
 */
export function sections(parts, isOpen) {
  const results = new Map(parts.filter(({ type }) => type === "tool_result").map((part) => [part.call, part]));
  const shown = parts.filter(({ type, content }) => type in SECTIONS && (type !== "source" || isWeb(content)));
  const found = [];
  for (const part of shown) {
    const { number, type, content } = part;
    const kind = SECTIONS[type];
    const isGrowing = isOpen && part === parts.at(-1);
    if (kind === "text") {
      found.push({ kind, number, content, isOpen: isGrowing });
      continue;
    }
    if (found.at(-1)?.kind !== kind)
      found.push(kind === "aside" ? { kind, number, steps: [] } : { kind, number, pages: [] });
    const { steps, pages } = found.at(-1);
    if (type === "source") pages.push({ url: content, title: part.title });
    else if (type === "reasoning") steps.push({ type: "thought", content, isLive: isGrowing });
    else steps.push(toolStep(part, results.get(part.call), isOpen));
  }
  return found;
}

/** What enters the log whole may come in several frames. A tool without a result at the end was not finished. */
function toolStep({ name, content }, told, isOpen) {
  const result = told && (!isOpen || told.content.length >= (told.size ?? 0)) ? told : null;
  const state = result ? (result.is_error ? "failed" : "done") : isOpen ? "running" : "unfinished";
  return { type: "tool", name, input: content, result, state, isLive: state === "running" };
}

/** Return the pages that a tool has found, as `sections` has them; null if its result is something else. */
export function pagesIn({ content }) {
  const value = parsed(content);
  const isPage = (each) => typeof each?.url === "string" && isWeb(each.url);
  return Array.isArray(value) && value.length && value.every(isPage) ? value : null;
}

/** Return a tool's input as people read it, but for what its title says. */
export function inputOf({ name, input }) {
  const isSaid = Object.keys(parsed(input) ?? {}).every((key) => name === SEARCH && key === "query");
  return isSaid ? "" : readable(input);
}

/** Return JSON as people read it; what is no JSON, because it was cut, as it stands. */
export function readable(content) {
  const value = parsed(content);
  if (value === undefined) return content;
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

/** Return what a line says of a step. */
export function titleOf(step) {
  if (step.type === "thought") return step.isLive ? "Thinking" : "Thought";
  const { name, input, state } = step;
  const isOver = state === "done" || state === "failed";
  const query = name === SEARCH && parsed(input)?.query;
  const deed =
    name === SEARCH ? (isOver ? "Searched the web" : "Searching the web") : `${isOver ? "Used" : "Using"} ${name}`;
  return `${deed}${query ? `: ${query}` : ""}${FATES[state] ? ` – ${FATES[state].alone}` : ""}`;
}

/** Return one line for all steps: what goes on, or else what was done, each once and how often. */
export function summaryOf(steps) {
  const live = steps.findLast(({ isLive }) => isLive);
  if (live || steps.length === 1) return titleOf(live ?? steps[0]);
  const done = new Map();
  for (const step of steps) done.set(deedOf(step), (done.get(deedOf(step)) ?? 0) + 1);
  const deeds = [...done].map(([deed, count]) => (deed === "thought" ? deed : `${deed}${times(count)}`));
  for (const [state, { counted }] of Object.entries(FATES)) {
    const count = steps.filter((step) => step.state === state).length;
    if (count) deeds.push(`${count === 1 ? "one" : count} ${counted}`);
  }
  const line = deeds.join(", ");
  return line[0].toUpperCase() + line.slice(1);
}

function times(count) {
  return ["", "", " twice"][count] ?? ` ${count} times`;
}

function deedOf({ type, name }) {
  if (type === "thought") return "thought";
  return name === SEARCH ? "searched the web" : `used ${name}`;
}

/** A model's text may name any address: a page follows those of the web only. */
function isWeb(url) {
  return URL.canParse(url) && ["http:", "https:"].includes(new URL(url).protocol);
}

function parsed(content) {
  try {
    return JSON.parse(content);
  } catch {
    return undefined;
  }
}
