/** What the model did beside its text: thoughts and tools, each in a quiet line that unfolds. */

import { element } from "./dom.js";

export class AsidesView {
  element = element("div", "asides");
  #lines = [];

  /** @param {string | null} doing the type of the last aside as long as the model is at it */
  show(asides, doing) {
    if (asides.length < this.#lines.length) this.#clear();
    asides.forEach((aside, index) => {
      this.#lines[index] ??= this.#newLine(aside.type);
      const line = this.#lines[index];
      const isLive = doing !== null && index === asides.length - 1;
      if (aside.type === "thinking") drawThought(line, aside, isLive);
      else drawTool(line, aside, isLive);
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

/** While the model thinks, show the end of the thought in the line. */
function drawThought(line, { content, beganAt, endedAt }, isLive) {
  const seconds = Math.round((endedAt - beganAt) / 1000);
  draw(line, isLive ? "Thinking" : `Thought for ${seconds < 2 ? "a moment" : `${seconds} s`}`, content, isLive);
  line.querySelector(".tail").textContent = isLive ? content.slice(-120).replaceAll("\n", " ") : "";
}

/** The first line of the content says what the tool does; results may follow. */
function drawTool(line, { content }, isLive) {
  const [what, ...more] = content.split("\n");
  draw(line, more.length ? `${what} ${more.length}` : what, more.join("\n"), isLive);
}

function draw(line, what, more, isLive) {
  line.toggleAttribute("data-live", isLive);
  line.toggleAttribute("data-empty", more === "");
  line.querySelector(".what").textContent = what;
  line.lastChild.textContent = more;
}
