/** The files that go with the next message: a chip each, from when it is chosen until it is sent. */

import { hex } from "../../clients/js/random.js";
import { read, sizeText } from "../readable.js";
import { news } from "./announcer.js";
import { button, element } from "./dom.js";

const LOST = "no longer in this browser. Attach it again";
const GONE = `It is ${LOST}.`;

export class Tray {
  element = element("ul", "tray");
  #http;
  #files;
  #blobs;
  #limits;
  #changed;
  #chips = new Map(); // by chip: {attachment, state, aborting, note, bar}

  /**
   * @param {object} uses
   * @param {Blobs} uses.blobs where the files are until their message is answered
   * @param {object} uses.limits the relay's
   * @param {(isLost: boolean) => void} changed called when a file came, went or was uploaded; or when it is lost here:
   *   another tab that has its bytes in memory may still send it
   */
  constructor({ http, files, blobs, limits }, changed) {
    this.#http = http;
    this.#files = files;
    this.#blobs = blobs;
    this.#limits = limits;
    this.#changed = changed;
    this.element.dataset.testid = "tray";
  }

  /** Whether there is nothing to send. */
  get isEmpty() {
    return this.kept.length === 0;
  }

  get isUploading() {
    return [...this.#chips.values()].some(({ state }) => state === "reading" || state === "uploading");
  }

  /**
   * The files to send: {kept, url, filename, mime_type, size}; `url` is null before the upload. A file that is still
   * being read is not among them: its bytes are not kept yet.
   */
  get kept() {
    const shown = [...this.#chips.values()].filter(({ state }) => state !== "failed" && state !== "reading");
    return shown.map(({ attachment }) => attachment);
  }

  /** Take files that the user has chosen. @returns a complaint, or null */
  add(files) {
    const room = this.#limits.attachments - this.#chips.size;
    for (const file of [...files].slice(0, room)) this.#choose(file);
    return files.length > room
      ? `A message takes ${this.#limits.attachments} files at most. Send the others with the next one.`
      : null;
  }

  /** Show files that were chosen before, and upload those that the relay does not have. */
  put(attachments) {
    for (const attachment of attachments) {
      const chip = this.#newChip({ ...attachment });
      if (attachment.url) this.#become(chip, "uploaded");
      else this.#upload(chip);
    }
    this.#changed();
  }

  /** Take out the files to send. Refused files stay until the user removes them. */
  take() {
    const taken = this.kept;
    for (const [chip, { state }] of this.#chips) if (state !== "failed") this.#remove(chip);
    this.#changed();
    return taken;
  }

  /** Empty the tray, for another draft. */
  clear() {
    for (const [chip, { aborting }] of this.#chips) {
      aborting.abort();
      this.#remove(chip);
    }
  }

  /** The relay can be reached again: upload what waits for that. */
  wake() {
    for (const [chip, { state }] of this.#chips) if (state === "waiting") this.#upload(chip);
  }

  /** The relay was started again and has none of the files: upload them again. */
  renew() {
    for (const [chip, { state, attachment }] of this.#chips) {
      attachment.url = null;
      if (state === "uploaded") this.#upload(chip);
    }
  }

  async #choose(file) {
    const attachment = { kept: hex(12), url: null, filename: file.name, mime_type: file.type, size: file.size };
    const chip = this.#newChip(attachment);
    this.#changed();
    const { type, problem } = await read(file, this.#limits);
    if (!this.#chips.has(chip)) return;
    if (problem) return this.#become(chip, "failed", problem);
    attachment.mime_type = type;
    await this.#blobs.keep(attachment.kept, file);
    await this.#upload(chip);
  }

  async #upload(chip) {
    const { attachment, aborting, bar } = this.#chips.get(chip);
    this.#become(chip, "uploading");
    const blob = await this.#blobs.get(attachment.kept);
    if (!blob) return this.#become(chip, "failed", GONE);
    try {
      const progress = (part) => (bar.value = part);
      attachment.url = await upload(this.#http, attachment, blob, { progress, signal: aborting.signal });
      this.#files.keep(attachment, blob);
      this.#become(chip, "uploaded");
    } catch ({ message, code, retryable }) {
      if (retryable) this.#become(chip, "waiting", code === "unreached" ? "waits for the relay" : message);
      else this.#become(chip, "failed", message);
    }
  }

  /** @param note what the chip says, if not the size */
  #become(chip, state, note = null) {
    const shown = this.#chips.get(chip);
    if (!shown) return;
    shown.state = state;
    shown.bar.hidden = state !== "uploading";
    shown.note.textContent = note ?? sizeText(shown.attachment.size);
    chip.dataset.state = state;
    const { filename } = shown.attachment;
    if (state === "uploaded") news(chip, `${filename} is attached`);
    if (state === "failed") news(chip, `${filename} is not attached. ${note}`);
    this.#changed(note === GONE);
  }

  #newChip(attachment) {
    const chip = element("li", "chip");
    chip.dataset.testid = "attachment";
    chip.dataset.state = "uploading";
    const note = element("span", "note", sizeText(attachment.size));
    const bar = element("progress");
    bar.max = 1;
    bar.value = 0;
    bar.setAttribute("aria-label", `Upload of ${attachment.filename}`);
    const aborting = new AbortController();
    const remove = button("remove", "", () => {
      aborting.abort();
      this.#blobs.drop(attachment.kept);
      this.#remove(chip);
      this.#changed();
    });
    remove.dataset.testid = "remove-attachment";
    remove.setAttribute("aria-label", `Remove ${attachment.filename}`);
    chip.append(element("span", "name", attachment.filename), note, remove, bar);
    this.#chips.set(chip, { attachment, state: "reading", aborting, note, bar });
    this.element.append(chip);
    return chip;
  }

  #remove(chip) {
    chip.remove();
    this.#chips.delete(chip);
  }
}

/** Upload an attachment. Throw a `Refusal` if the relay refuses. @returns {Promise<string>} its url */
export async function upload(http, { filename, mime_type }, blob, options = {}) {
  const { url } = await http.upload(new File([blob], filename, { type: mime_type }), options);
  return url;
}

/** Return the error of a message with a file whose bytes are gone. */
export function lost({ filename }) {
  return { code: "lost_file", content: `${filename} is ${LOST}, or send the message without it.`, retryable: false };
}
