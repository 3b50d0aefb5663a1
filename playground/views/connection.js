/** The connection of the chat on the screen; a click does what helps. */

const TEXTS = {
  stopped: "Key needed",
  connecting: "Connecting",
  online: "Online",
  reconnecting: "Reconnecting",
  offline: "Offline",
  rejected: "Key needed",
};
const OFFERS = {
  stopped: "Give a key",
  rejected: "Give a key",
  reconnecting: "Connect now",
  offline: "Connect now",
};
const COUNT_MS = 250;

export class ConnectionPill {
  #pill;
  #connection;
  #counting = null;

  /**
   * @param {HTMLElement} pill
   * @param {object} does
   * @param {() => void} does.askForKey
   * @param {() => void} does.connect
   */
  constructor(pill, { askForKey, connect }) {
    this.#pill = pill;
    pill.addEventListener("click", () => {
      if (["rejected", "stopped"].includes(this.#connection.state)) askForKey();
      else connect();
    });
  }

  /** @param {{state: string, retryAt: number | null}} connection `retryAt` in milliseconds since 1970 */
  show(connection) {
    this.#connection = connection;
    clearTimeout(this.#counting);
    const { state, retryAt } = connection;
    const seconds = retryAt ? Math.max(0, Math.ceil((retryAt - Date.now()) / 1000)) : 0;
    const counts = state === "reconnecting" && seconds > 0;
    this.#pill.dataset.state = state;
    this.#pill.title = OFFERS[state] ?? "";
    this.#pill.lastChild.textContent = counts ? `Reconnecting in ${seconds} s` : TEXTS[state];
    if (counts) this.#counting = setTimeout(() => this.show(connection), COUNT_MS);
  }
}
