/** What browsers keep for a page. They may forbid it; then it is kept as long as the page is open. */

class InMemory {
  #items = new Map();

  getItem(key) {
    return this.#items.get(key) ?? null;
  }

  setItem(key, value) {
    this.#items.set(key, value);
  }

  removeItem(key) {
    this.#items.delete(key);
  }

  key(index) {
    return [...this.#items.keys()][index] ?? null;
  }

  get length() {
    return this.#items.size;
  }
}

function granted(name) {
  try {
    return globalThis[name] ?? new InMemory();
  } catch {
    return new InMemory();
  }
}

/** Of all tabs, for ever. */
export const shared = granted("localStorage");
/** Of this tab, as long as it is open. */
export const own = granted("sessionStorage");
