/** The relay's HTTP API. Every call gives what the answer says, or throws a `Refusal`. */

/** `message` is a sentence for a person, `code` a word for a program: see "An error is …" in the README. */
export class Refusal extends Error {
  constructor(sentence, code, retryable) {
    super(sentence);
    this.code = code;
    this.retryable = retryable;
  }
}

export class Http {
  key = null;

  /** Whether the server says that a key is wrong. Without a network there is no judgement of it. */
  async isRejected(key) {
    try {
      const answer = await fetch("/api/status", { headers: { "X-API-Key": key } });
      return answer.status === 401 || answer.status === 403;
    } catch {
      return false;
    }
  }

  /** A page of `{conversations: [{id, title, updated_at}], next}`; `cursor` is the `next` of the page before. */
  conversations(cursor = null) {
    return this.#call("GET", `/api/conversations${after(cursor)}`);
  }

  /** A page of `{turns, next}`, the latest turns; `cursor` asks for those before. */
  turns(conversation, cursor = null) {
    return this.#call("GET", `${path(conversation)}/messages${after(cursor)}`);
  }

  deleteConversation(conversation) {
    return this.#call("DELETE", path(conversation));
  }

  /** A message, as the `send` frame that it is too long for. */
  postMessage({ conversation, ...frame }) {
    return this.#call("POST", `${path(conversation)}/messages`, frame);
  }

  async #call(method, url, body) {
    const headers = { "X-API-Key": this.key };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let answer;
    try {
      answer = await fetch(url, { method, headers, body: JSON.stringify(body) });
    } catch {
      throw unreached();
    }
    if (!answer.ok) throw refusal(answer.status, await answer.text());
    return answer.json();
  }
}

function path(conversation) {
  return `/api/conversations/${encodeURIComponent(conversation)}`;
}

function after(cursor) {
  return cursor === null ? "" : `?cursor=${encodeURIComponent(cursor)}`;
}

function unreached() {
  return new Refusal("The relay cannot be reached.", "unreached", true);
}

/** Also of API Gateway's own answers, which have other fields, and of S3's, which are no JSON. */
function refusal(status, text) {
  const { error, message, code } = parsed(text);
  return new Refusal(error ?? message ?? `The answer was ${status}.`, code ?? "gateway", status >= 500);
}

function parsed(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}
