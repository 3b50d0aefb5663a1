/** What the model did beside its answer: thoughts, and tools with their input and result, in quiet lines that unfold. */

import { element } from "./dom.js";

export class AsidesView {
  element = element("div", "asides");
  #lines = [];

  /** @param {object | null} doing the part that the model is at, if that is none of its answer */
  show(parts, doing) {
    const asides = parts.filter(({ type }) => type === "reasoning" || type === "tool");
    if (asides.length < this.#lines.length) this.#clear();
    asides.forEach((aside, index) => {
      this.#lines[index] ??= this.#newLine(aside.type);
      const line = this.#lines[index];
      if (aside.type === "reasoning") drawThought(line, aside, aside === doing);
      else drawTool(line, aside, resultOf(aside, parts), aside === doing);
    });
    this.element.hidden = asides.length === 0;
  }

  #newLine(type) {
    const line = element("details", "aside");
    line.dataset.testid = "aside";
    line.dataset.type = type;
    line.append(element("summary"), element("p"));
    line.firstChild.append(element("span", "what"), element("span", "tail"));
    this.element.append(line);
    return line;
  }

  #clear() {
    this.#lines = [];
    this.element.replaceChildren();
  }
}

function resultOf({ call }, parts) {
  return parts.find(({ type, call: its }) => type === "tool_result" && its === call);
}

/** While the model thinks, show the end of the thought in the line. */
function drawThought(line, { content, beganAt, endedAt }, isLive) {
  const seconds = Math.round((endedAt - beganAt) / 1000);
  const took = seconds > 1 ? `Thought for ${seconds} s` : "Thought for a moment";
  draw(line, isLive ? "Thinking" : beganAt === undefined ? "Thought" : took, content, isLive);
  line.querySelector(".tail").textContent = isLive ? content.slice(-120).replaceAll("\n", " ") : "";
}

function drawTool(line, tool, result, isLive) {
  const found = result ? `\n\n${titleOf(result)}\n${readable(result.content)}` : "";
  draw(line, nameOf(tool), `${readable(tool.content)}${found}`, isLive);
}

function nameOf({ name, content }) {
  const { query } = parsed(content) ?? {};
  return name === "web_search" && query ? `Searching the web: ${query}` : `Using ${name}`;
}

function titleOf({ is_error, truncated }) {
  return is_error ? "It failed:" : truncated ? "Its result begins:" : "Its result:";
}

/** JSON as people read it; what is no JSON, because it was cut, as it stands. */
function readable(content) {
  const value = parsed(content);
  return value === undefined ? content : typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

function parsed(content) {
  try {
    return JSON.parse(content);
  } catch {
    return undefined;
  }
}

function draw(line, what, more, isLive) {
  line.toggleAttribute("data-live", isLive);
  line.toggleAttribute("data-empty", more === "");
  line.querySelector(".what").textContent = what;
  line.lastChild.textContent = more;
}
