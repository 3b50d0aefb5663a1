/** The browser's storage. If the browser forbids its use, memory that lasts as long as the page is open. */

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

/** Shared by all tabs, for ever. */
export const shared = granted("localStorage");
/** This tab's own, as long as it is open. */
export const own = granted("sessionStorage");
