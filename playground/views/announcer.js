/**
 * Reads out to screen readers. A view dispatches its news as an event from the element that the news is about, so that
 * nothing is heard of a chat that is not on the screen.
 *
 * Each live region has one job:
 *
 *   [data-announcements]  polite: who writes, each paragraph of a reply once it is complete, how it ended; the
 *                         connection, uploads, another conversation, pushes, copying. In order; nothing is said twice
 *   [data-testid=complaint], the drawer's [data-complaint]
 *                         alerts: what the page refuses to do for its user
 *
 * Whatever counts down stands outside of both.
 */

/** Few enough that a listener does not come across old lines, and enough that none is gone before it was read out. */
const KEPT = 20;

/** Dispatch news. @param {Element} about */
export function news(about, text) {
  about.dispatchEvent(new CustomEvent("news", { bubbles: true, detail: text }));
}

export class Announcer {
  #region;

  /** @param {HTMLElement} region a live region, to which lines are added */
  constructor(region) {
    this.#region = region;
    document.addEventListener("news", ({ detail }) => this.say(detail));
  }

  say(text) {
    const line = document.createElement("p");
    line.textContent = text;
    this.#region.append(line);
    while (this.#region.childElementCount > KEPT) this.#region.firstChild.remove();
  }
}

/** Says when a connection is lost, and when it is back. */
export class ConnectionNews {
  #isLost = false;

  /** @returns {string | null} null if the state is no news */
  of(state) {
    const wasLost = this.#isLost;
    if (state === "online" || state === "rejected") this.#isLost = false;
    if (state === "reconnecting" || state === "offline") this.#isLost = true;
    if (wasLost === this.#isLost) return null;
    if (state === "online") return "Connected again";
    return this.#isLost ? "The connection is lost. What you write is sent when it is back" : null;
  }
}
