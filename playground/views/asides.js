/** What the model did beside its answer: thoughts and tools that follow each other, in one quiet line that unfolds. */

import { inputOf, pagesIn, readable, summaryOf, titleOf } from "../sections.js";
import { element, scrollable, write } from "./dom.js";
import { linkList } from "./links.js";

const TAIL_CHARS = 120;

export class AsideView {
  element = element("details", "aside");
  #what = element("span", "what");
  #tail = element("span", "tail");
  #list = element("ol", "steps");
  #steps = [];

  constructor() {
    const summary = element("summary");
    summary.append(this.#what, this.#tail);
    this.element.dataset.testid = "aside";
    this.element.append(summary, this.#list);
  }

  show({ steps }) {
    const live = steps.findLast(({ isLive }) => isLive);
    this.element.toggleAttribute("data-live", live !== undefined);
    write(this.#what, summaryOf(steps));
    // While the model thinks, the end of the thought is in the line.
    write(this.#tail, live?.type === "thought" ? live.content.slice(-TAIL_CHARS).replaceAll("\n", " ") : "");
    for (const [index, step] of steps.entries()) this.#viewOf(step, index).show(step);
    for (const { element } of this.#steps.splice(steps.length)) element.remove();
  }

  /** After a loss, another step may stand in the place of one that was here. */
  #viewOf({ type }, index) {
    if (this.#steps[index]?.element.dataset.type !== type) {
      for (const { element } of this.#steps.splice(index)) element.remove();
      this.#steps[index] = type === "thought" ? new ThoughtView() : new ToolView();
      this.#list.append(this.#steps[index].element);
    }
    return this.#steps[index];
  }
}

class ThoughtView {
  element = step("thought");
  #text = element("p");

  constructor() {
    this.element.append(this.#text);
  }

  show({ content }) {
    write(this.#text, content);
  }
}

class ToolView {
  element = step("tool");
  #title = element("p", "title");
  #given = box("Input");
  #came = element("div");
  #drawn = [];

  constructor() {
    this.element.append(this.#title, this.#given, this.#came);
  }

  /** Drawn only when it is another one: somebody may be reading in it. */
  show(tool) {
    const { name, input, result, state } = tool;
    const wanted = [name, input, result?.content, state];
    if (wanted.every((each, index) => each === this.#drawn[index])) return;
    this.#drawn = wanted;
    this.element.dataset.state = state;
    write(this.#title, titleOf(tool));
    fill(this.#given, inputOf(tool), `Input of ${name}`);
    this.#came.replaceChildren(...(result ? [resultOf(result, name)] : []));
  }
}

function resultOf(result, name) {
  const pages = pagesIn(result);
  if (pages) return linkList("pages", `What ${name} found`, pages);
  const what = result.is_error ? "Error" : result.truncated ? "Beginning of the result" : "Result";
  const shown = box(what);
  fill(shown, readable(result.content), `${what} of ${name}`);
  return shown;
}

/** Return a caption with a text below it that may be long, and then scrolls. */
function box(caption) {
  const figure = element("figure", "given");
  figure.append(element("figcaption", "", caption), scrollable(element("pre"), caption));
  return figure;
}

function fill(figure, text, name) {
  figure.hidden = text === "";
  figure.lastChild.textContent = text;
  figure.lastChild.setAttribute("aria-label", name);
}

function step(type) {
  const item = element("li", "step");
  item.dataset.testid = "step";
  item.dataset.type = type;
  return item;
}
