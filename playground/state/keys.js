/**
 * Keeps the keys that the user has typed. A key stays in its tab, unless the relay runs on another machine: it gives
 * its key to no page there, so a key that was accepted is remembered for the next tab.
 */

const KEY = "key";

export class Keys {
  #own;
  #shared;
  #isForAll = false;

  /** @param {Storage} own the tab's @param {Storage} shared that of all tabs */
  constructor(own, shared) {
    this.#own = own;
    this.#shared = shared;
  }

  get known() {
    return this.#own.getItem(KEY) ?? this.#shared.getItem(KEY);
  }

  /** @param {boolean} isForAll whether to remember the key for other tabs, once it is accepted */
  give(key, isForAll) {
    this.#own.setItem(KEY, key);
    this.#isForAll = isForAll;
  }

  accept(key) {
    if (this.#isForAll && this.#own.getItem(KEY) === key) this.#shared.setItem(KEY, key);
  }

  /** Forget a key that was refused. */
  refuse(key) {
    for (const storage of [this.#own, this.#shared]) if (storage.getItem(KEY) === key) storage.removeItem(KEY);
  }
}
