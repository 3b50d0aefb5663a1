/** The files that go with the next message: a chip each, from the first byte of its upload until it is sent. */

import { news } from "./announcer.js";
import { button, element } from "./dom.js";
import { sizeText } from "./files.js";

const MOST = 10;

export class Tray {
  element = element("ul", "tray");
  #http;
  #files;
  #changed;
  #chips = new Map(); // by chip: {file, attachment?, aborting}

  /** @param {() => void} changed called when something came, went, or was uploaded */
  constructor(http, files, changed) {
    this.#http = http;
    this.#files = files;
    this.#changed = changed;
    this.element.dataset.testid = "tray";
  }

  /** Whether there is nothing to send. */
  get isEmpty() {
    return this.#uploaded.length === 0;
  }

  get isUploading() {
    return [...this.#chips.values()].some(({ attachment, failed }) => !attachment && !failed);
  }

  /** @returns a complaint, or null */
  add(files) {
    const room = MOST - this.#chips.size;
    for (const file of [...files].slice(0, room)) this.#upload(file);
    return files.length > room ? `A message takes ${MOST} files at most.` : null;
  }

  /** Empties the tray of what is uploaded; what was refused stays until somebody has seen it. */
  take() {
    const taken = this.#uploaded;
    for (const [chip, { attachment }] of this.#chips) if (attachment) this.#drop(chip);
    return taken;
  }

  get #uploaded() {
    return [...this.#chips.values()].map(({ attachment }) => attachment).filter(Boolean);
  }

  async #upload(file) {
    const aborting = new AbortController();
    const state = { attachment: null, failed: false };
    const { chip, note, bar } = this.#newChip(file, aborting);
    this.#chips.set(chip, state);
    this.element.append(chip);
    this.#changed();
    try {
      const progress = (part) => (bar.value = part);
      const { url, filename } = await this.#http.upload(file, { progress, signal: aborting.signal });
      state.attachment = { url, filename, mime_type: file.type, size: file.size };
      this.#files.keep(url, file);
    } catch (refusal) {
      state.failed = true;
      note.textContent = refusal.message;
    }
    chip.dataset.state = state.failed ? "failed" : "uploaded";
    news(chip, state.failed ? `${file.name} is not attached. ${note.textContent}` : `${file.name} is attached`);
    bar.hidden = true;
    this.#changed();
  }

  #newChip(file, aborting) {
    const chip = element("li", "chip");
    chip.dataset.testid = "attachment";
    chip.dataset.state = "uploading";
    const note = element("span", "note", sizeText(file.size));
    const bar = element("progress");
    bar.max = 1;
    bar.value = 0;
    bar.setAttribute("aria-label", `Upload of ${file.name}`);
    const remove = button("remove", "", () => {
      aborting.abort();
      this.#drop(chip);
    });
    remove.dataset.testid = "remove-attachment";
    remove.setAttribute("aria-label", `Remove ${file.name}`);
    chip.append(element("span", "name", file.name), note, remove, bar);
    return { chip, note, bar };
  }

  #drop(chip) {
    chip.remove();
    this.#chips.delete(chip);
    this.#changed();
  }
}
