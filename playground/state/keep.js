/**
 * Keeps what was typed here and has no answer yet: a draft for each conversation, and messages. They survive a reload,
 * a crash, a restart of the relay and a key that is not accepted.
 *
 * They are in `localStorage`, because a write to that is done when it returns. Each draft and each message has a key of
 * its own, so that tabs do not overwrite what others keep. All tabs that show a conversation share its draft.
 */

const DRAFT = "chatrelay.draft.";
const MESSAGE = "chatrelay.message.";

export class Keep {
  #storage;
  #full;

  /**
   * @param {Storage} storage
   * @param {() => void} full called when something could not be kept because there is no room
   */
  constructor(storage, full) {
    this.#storage = storage;
    this.#full = full;
  }

  /** @returns {{content: string, files: object[]}} of which either may be empty */
  draft(agent, conversation) {
    return this.#read(draftKey(agent, conversation)) ?? { content: "", files: [] };
  }

  /** @param {{content, files, isNew}} draft `isNew` says that nothing was said in the conversation yet */
  saveDraft(agent, conversation, draft) {
    const key = draftKey(agent, conversation);
    if (draft.content || draft.files.length) this.#write(key, { agent, conversation, at: Date.now(), ...draft });
    else this.#storage.removeItem(key);
  }

  /** Return the conversation of the latest draft in which nothing was said yet, or null. The relay does not list it. */
  begun(agent) {
    const begun = this.#all(DRAFT).filter((draft) => draft.isNew && draft.agent === agent);
    return begun.sort((one, other) => other.at - one.at)[0]?.conversation ?? null;
  }

  /** Return the messages that may not have been answered, in the order in which they were sent. */
  messages(agent) {
    const messages = this.#all(MESSAGE).filter((message) => message.agent === agent);
    return messages.sort((one, other) => one.at - other.at);
  }

  saveMessage(message) {
    const key = MESSAGE + message.id;
    this.#write(key, { ...message, at: this.#read(key)?.at ?? Date.now() });
  }

  dropMessage(id) {
    this.#storage.removeItem(MESSAGE + id);
  }

  /** Drop everything of a conversation that was deleted. */
  forget(conversation) {
    for (const key of this.#keys()) {
      if (this.#read(key)?.conversation === conversation) this.#storage.removeItem(key);
    }
  }

  /** Return the ids of the files of all that is kept. */
  files() {
    const drafted = this.#all(DRAFT).flatMap(({ files }) => files.map(({ kept }) => kept));
    return new Set([
      ...drafted,
      ...this.#all(MESSAGE).flatMap(({ attachments }) => attachments.map(({ kept }) => kept)),
    ]);
  }

  #all(prefix) {
    return this.#keys()
      .filter((key) => key.startsWith(prefix))
      .map((key) => this.#read(key))
      .filter(Boolean);
  }

  #keys() {
    const keys = Array.from({ length: this.#storage.length }, (_, index) => this.#storage.key(index));
    return keys.filter((key) => key?.startsWith(DRAFT) || key?.startsWith(MESSAGE));
  }

  #read(key) {
    try {
      return JSON.parse(this.#storage.getItem(key));
    } catch {
      return null; // of another version of this page, or damaged
    }
  }

  #write(key, value) {
    try {
      this.#storage.setItem(key, JSON.stringify(value));
    } catch {
      this.#full();
    }
  }
}

/** Return what another tab has changed, by a `storage` event: the draft of {agent, conversation}, a {message}, or {}. */
export function changedElsewhere({ key, newValue }) {
  if (key?.startsWith(MESSAGE)) return { message: key.slice(MESSAGE.length), isGone: newValue === null };
  if (!key?.startsWith(DRAFT)) return {};
  const [agent, conversation] = JSON.parse(key.slice(DRAFT.length));
  return { agent, conversation };
}

function draftKey(agent, conversation) {
  return DRAFT + JSON.stringify([agent, conversation]);
}
