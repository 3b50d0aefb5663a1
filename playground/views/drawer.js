/** Holds the conversations: a column where there is room, else a drawer over the chat. */

const WIDE = "(min-width: 1180px)";

export class Drawer {
  #drawer;

  /** @param {() => void} opening called before the drawer is shown */
  constructor(drawer, opening) {
    this.#drawer = drawer;
    drawer.addEventListener("beforetoggle", ({ newState }) => {
      if (newState === "open") opening();
      else this.#becomeModal(false);
    });
    drawer.addEventListener("toggle", ({ newState }) => {
      if (newState !== "open") return;
      this.#becomeModal(true);
      drawer.querySelector("button").focus();
    });
    matchMedia(WIDE).addEventListener("change", () => this.close());
  }

  close() {
    if (this.#drawer.matches(":popover-open")) this.#drawer.hidePopover();
  }

  /** An open drawer is all that there is: nothing behind it is reached until it begins to close. */
  #becomeModal(isModal) {
    for (const behind of document.querySelectorAll("[data-skip], main, aside")) behind.inert = isModal;
    this.#drawer.role = isModal ? "dialog" : "navigation";
    this.#drawer.ariaModal = isModal ? "true" : null;
  }
}
