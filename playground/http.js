/** The relay's HTTP API. Every call returns what the answer says, or throws a `Refusal`. */

import { advice } from "./cures.js";

/** `message` is a sentence for a person, `code` a word for a program: see "HTTP calls" in docs/protocol.md. */
export class Refusal extends Error {
  constructor(sentence, code, retryable) {
    super(sentence);
    this.code = code;
    this.retryable = retryable;
  }
}

export class Http {
  key = null;
  #postedBytes;

  /** @param {number} limits.posted what the relay itself takes in one request; larger files go to S3 by a form */
  constructor({ posted: postedBytes }) {
    this.#postedBytes = postedBytes;
  }

  /** Whether the server says that a key is wrong. False without a network. */
  async isRejected(key) {
    try {
      const answer = await fetch("/api/status", { headers: { "X-API-Key": key } });
      return answer.status === 401 || answer.status === 403;
    } catch {
      return false;
    }
  }

  /** Return a page of `{conversations: [{id, title, updated_at}], next}`; `cursor` is the `next` of the page before. */
  conversations(cursor = null) {
    return this.#call("GET", `/api/conversations${after(cursor)}`);
  }

  /** Return a page of `{turns, next}`: the latest turns or, with a `cursor`, the turns before a page. */
  turns(conversation, cursor = null) {
    return this.#call("GET", `${path(conversation)}/messages${after(cursor)}`);
  }

  deleteConversation(conversation) {
    return this.#call("DELETE", path(conversation));
  }

  /** Send a message. @param {object} message as the `send` frame that cannot carry it */
  postMessage({ conversation, ...message }) {
    return this.#call("POST", `${path(conversation)}/messages`, message);
  }

  /** Return `{days, limits, left, …}` of this month: what was used, and what is left. */
  usage() {
    return this.#call("GET", "/api/usage");
  }

  /** Register a device: from now on every reply that it has not shown is pushed to it. */
  registerDevice({ id, token, platform }) {
    const device = { device_id: id, device_token: token, platform };
    return this.#call("POST", "/api/notifications/register", device);
  }

  removeDevice(id) {
    return this.#call("DELETE", `/api/notifications/${encodeURIComponent(id)}`);
  }

  /**
   * Upload a file.
   *
   * @param {(part: number) => void} options.progress told which part of the file is there, from 0 to 1
   * @param {AbortSignal} options.signal
   * @returns {Promise<{url, filename}>} the url to quote in a message
   */
  async upload(file, options) {
    if (file.size <= this.#postedBytes) {
      const answer = await posted("/api/files/upload", { file }, { ...options, headers: { "X-API-Key": this.key } });
      return JSON.parse(answer);
    }
    const mimeType = file.type || "application/octet-stream";
    const asked = { filename: file.name, mime_type: mimeType, size: file.size };
    const { url, filename, upload } = await this.#call("POST", "/api/files", asked);
    await posted(upload.url, { ...upload.fields, file }, options);
    return { url, filename };
  }

  /** Return the bytes of a file, wherever the answer redirects to. */
  async file(id) {
    const answer = await this.#fetch(`/api/files/${id}`, { headers: { "X-API-Key": this.key } });
    return answer.blob();
  }

  async #call(method, url, body) {
    const headers = { "X-API-Key": this.key };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const answer = await this.#fetch(url, { method, headers, body: JSON.stringify(body) });
    return answer.json();
  }

  async #fetch(url, options) {
    let answer;
    try {
      answer = await fetch(url, options);
    } catch {
      throw unreached();
    }
    if (!answer.ok) throw refusal(answer.status, await answer.text(), answer.headers.get("retry-after"));
    return answer;
  }
}

/** Post a form and tell the progress, which `fetch` cannot. */
function posted(url, fields, { headers = {}, progress = () => {}, signal }) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  const request = new XMLHttpRequest();
  request.open("POST", url);
  for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
  return new Promise((resolve, reject) => {
    request.upload.addEventListener("progress", ({ loaded, total }) => progress(loaded / total));
    request.addEventListener("load", () => {
      if (request.status < 300) resolve(request.responseText);
      else reject(refusal(request.status, request.responseText, request.getResponseHeader("retry-after")));
    });
    request.addEventListener("error", () => reject(unreached()));
    signal?.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

function path(conversation) {
  return `/api/conversations/${encodeURIComponent(conversation)}`;
}

function after(cursor) {
  return cursor === null ? "" : `?cursor=${encodeURIComponent(cursor)}`;
}

function unreached() {
  return new Refusal(advice("unreached", 0), "unreached", true);
}

/** Return an answer as a refusal. API Gateway's own answers have other fields; S3's are no JSON. */
function refusal(status, text, retryAfter) {
  const { error, message, code } = parsed(text);
  const sentence = advice(code, status, error ?? message, Number(retryAfter));
  return new Refusal(sentence, code ?? "gateway", status >= 500);
}

function parsed(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}
