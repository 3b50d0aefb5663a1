/** Asks for a key. */

export class KeyDialog {
  #dialog;

  /** @param {(key: string) => void} given */
  constructor(dialog, given) {
    this.#dialog = dialog;
    dialog.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.close();
      given(event.target.elements.key.value.trim());
    });
  }

  /** @param {string} note why, or where a key is found */
  ask(note) {
    this.#dialog.querySelector("[data-key-note]").textContent = note;
    if (!this.#dialog.open) this.#dialog.showModal();
  }
}
