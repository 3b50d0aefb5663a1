/**
 * Keeps the bytes of files in a draft or in a message without an answer, by an id of the page's own: an upload may not
 * have ended, and a relay that was started again has none of the files that it had before.
 *
 * They are in IndexedDB, or in this page's memory if the browser does not grant that.
 */

const STORE = "files";
/** Another tab may have put a file here, and not yet have kept the draft that names it. */
const YOUNG_MS = 24 * 60 * 60_000;

export class Blobs {
  #opened;
  #memory = new Map();

  async keep(id, blob) {
    // A chosen file cannot be read any more once it has changed on the disk; a copy can.
    const put = this.#ask("readwrite", (files) => files.put({ blob, at: Date.now() }, id));
    await put.catch(() => this.#memory.set(id, blob));
  }

  /** @returns {Promise<Blob | null>} */
  async get(id) {
    const kept = await this.#ask("readonly", (files) => files.get(id)).catch(() => null);
    return this.#memory.get(id) ?? kept?.blob ?? null;
  }

  async drop(id) {
    this.#memory.delete(id);
    await this.#ask("readwrite", (files) => files.delete(id)).catch(() => {});
  }

  /** Drop what is older than a day and not among the `used` ids. */
  async sweep(used) {
    const ids = await this.#ask("readonly", (files) => files.getAllKeys()).catch(() => []);
    for (const id of ids.filter((each) => !used.has(each))) {
      const kept = await this.#ask("readonly", (files) => files.get(id)).catch(() => null);
      if (kept && Date.now() - kept.at > YOUNG_MS) await this.drop(id);
    }
  }

  async #ask(mode, ask) {
    this.#opened ??= opened();
    const database = await this.#opened;
    return done(ask(database.transaction(STORE, mode).objectStore(STORE)));
  }
}

async function opened() {
  const request = indexedDB.open("chatrelay", 1);
  request.addEventListener("upgradeneeded", () => request.result.createObjectStore(STORE));
  return done(request);
}

function done(request) {
  return new Promise((resolve, reject) => {
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", () => reject(request.error));
  });
}
