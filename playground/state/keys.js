/**
 * The keys that somebody has typed. One stays in its tab, unless the page is another machine's: that gives no key away, so
 * one that was accepted is remembered for the next tab.
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

  /** @param {boolean} isForAll whether it shall be remembered */
  give(key, isForAll) {
    this.#own.setItem(KEY, key);
    this.#isForAll = isForAll;
  }

  accept(key) {
    if (this.#isForAll && this.#own.getItem(KEY) === key) this.#shared.setItem(KEY, key);
  }

  /** It is tried no more. */
  refuse(key) {
    for (const storage of [this.#own, this.#shared]) if (storage.getItem(KEY) === key) storage.removeItem(KEY);
  }
}
