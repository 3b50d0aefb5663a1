/** Shows the files of messages. Their addresses want the key, so files are fetched and shown as `blob:` URLs. */

import { sizeText } from "../readable.js";
import { element } from "./dom.js";

const ICON = "M14 3H7a2 2 0 0 0-2 2v14a2 2 0 0 0 2 2h10a2 2 0 0 0 2-2V8zM14 3v5h5M9 13h6M9 17h4";

export class Files {
  #http;
  #blobs;
  #urls = new Map(); // promises of `blob:` URLs, by the files' ids

  /** @param {Blobs} blobs the files that were chosen here and may not be at the relay */
  constructor(http, blobs) {
    this.#http = http;
    this.#blobs = blobs;
  }

  /** Keep a file that was uploaded from here: it need not be fetched, by its own id or by the relay's. */
  keep({ kept, url, mime_type }, blob) {
    const shown = Promise.resolve(objectUrl(blob, mime_type));
    for (const id of [kept, idOf(url)]) this.#urls.set(id, shown);
  }

  /** Free all files. Call when none is shown any more. */
  clear() {
    // A file that was lost has nothing to free.
    for (const url of this.#urls.values()) url.then(URL.revokeObjectURL, () => {});
    this.#urls.clear();
  }

  /** @param {{url, filename, mime_type, size}} attachment its `mime_type` is what the server found it to be */
  show(attachment) {
    const link = element("a", "file");
    link.target = "_blank";
    link.dataset.testid = "file";
    link.title = attachment.filename;
    link.dataset.kind = kind(attachment);
    link.append(link.dataset.kind === "picture" ? picture(attachment) : card(attachment));
    if (link.dataset.kind === "paper") link.prepend(preview());
    this.#fill(link, attachment);
    return link;
  }

  async #fill(link, attachment) {
    try {
      const url = await this.#address(attachment);
      link.href = url;
      if (link.dataset.kind === "picture") link.firstChild.src = url;
      if (link.dataset.kind === "paper") link.firstChild.src = `${url}#toolbar=0&navpanes=0&view=FitH`;
    } catch (refusal) {
      this.#urls.delete(shownAs(attachment)); // whoever shows it next tries again
      link.dataset.kind = "lost";
      link.replaceChildren(card(attachment, refusal.message));
    }
  }

  #address(attachment) {
    const id = shownAs(attachment);
    if (!this.#urls.has(id)) this.#urls.set(id, this.#fetched(attachment));
    return this.#urls.get(id);
  }

  async #fetched({ kept, url, mime_type }) {
    const blob = (kept && (await this.#blobs.get(kept))) ?? (await this.#http.file(idOf(url ?? "")));
    return objectUrl(blob, mime_type);
  }
}

function shownAs({ kept, url }) {
  return kept ?? idOf(url);
}

/** Return the id in a file's url, whatever its host. */
function idOf(url) {
  return url.slice(url.lastIndexOf("/") + 1);
}

function objectUrl(blob, mimeType) {
  const type = mimeType === "text/plain" ? "text/plain;charset=utf-8" : mimeType;
  return URL.createObjectURL(new Blob([blob], { type }));
}

function kind({ mime_type }) {
  if (mime_type.startsWith("image/")) return "picture";
  return mime_type === "application/pdf" && navigator.pdfViewerEnabled ? "paper" : "document";
}

function picture({ filename }) {
  const image = element("img");
  image.alt = filename;
  return image;
}

function card({ filename, size }, note = sizeText(size)) {
  const made = element("span", "card-of-file");
  const texts = element("span", "texts");
  texts.append(element("span", "name", filename), element("span", "note", note));
  made.append(icon(), texts);
  return made;
}

/** Return a frame for the first page. To read a paper, the user opens it. */
function preview() {
  const frame = element("iframe");
  frame.tabIndex = -1;
  frame.setAttribute("aria-hidden", "true");
  return frame;
}

function icon() {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  const path = document.createElementNS(svg.namespaceURI, "path");
  path.setAttribute("d", ICON);
  svg.append(path);
  return svg;
}
