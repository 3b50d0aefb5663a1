/** What the user has used today and what is left, in the foot of the list: seen by whoever looks there, not read out. */

import { today } from "../usage.js";
import { element } from "./dom.js";

/** Replies may end one after the other; the server is asked that often at most. */
const REST_MS = 3000;

export class Day {
  #lines;
  #http;
  #isStale = false;
  #timer = null;

  /** @param {HTMLElement} lines hidden as long as nothing is known */
  constructor(lines, http) {
    this.#lines = lines;
    this.#http = http;
  }

  /** Ask at once or, if that was done a moment ago, a moment later. Call when something was used. */
  refresh() {
    this.#isStale = this.#timer !== null;
    if (this.#isStale) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      if (this.#isStale) this.refresh();
    }, REST_MS);
    this.#ask();
  }

  async #ask() {
    const usage = await this.#http.usage().catch(() => null); // what is wrong is told where it matters
    this.#lines.hidden = usage === null;
    if (usage) this.#lines.replaceChildren(...today(usage).map((line) => element("span", "", line)));
  }
}
