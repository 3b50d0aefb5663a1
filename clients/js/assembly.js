/**
 * Puts a reply's text together from frames that may be repeated, overlap, be missing or come from a writer that
 * has been replaced. No DOM, no clock, no network.
 *
 * Offsets and lengths count UTF-16 code units, which is what `String.length` and `slice` count.
 */

/** @param {string} id the reply's id */
export function newReply(id) {
  return { id, text: "", epoch: 0, textEpoch: 0 };
}

/**
 * Whether a frame comes from the reply's present writer. A higher epoch introduces a new writer. A frame without an
 * epoch comes from a server that has one writer for ever.
 */
export function isCurrent(reply, frame) {
  const epoch = frame.epoch ?? reply.epoch;
  if (epoch < reply.epoch) return false;
  reply.epoch = epoch;
  return true;
}

/**
 * Put one `message` frame where it belongs.
 *
 * A newer writer's text replaces what an older writer wrote from its offset on: the older writer may have sent words
 * that were never stored.
 *
 * @returns {"appended" | "repeated" | "gap" | "stale"} a gap leaves the text as it was: resume from its length
 */
export function place(reply, frame) {
  if (!isCurrent(reply, frame)) return "stale";
  if (frame.offset > reply.text.length) return "gap";
  if (reply.epoch > reply.textEpoch) reply.text = reply.text.slice(0, frame.offset);
  reply.textEpoch = reply.epoch;
  const fresh = frame.content.slice(reply.text.length - frame.offset);
  reply.text += fresh;
  return fresh ? "appended" : "repeated";
}

/** Return how many UTF-16 code units are missing, by the length in `complete`. */
export function missing(reply, complete) {
  return Math.max(0, (complete.length ?? reply.text.length) - reply.text.length);
}

/**
 * Compare the text with the length and the SHA-256 of its UTF-8 bytes in `complete`.
 *
 * @returns {Promise<"verified" | "different" | "unchecked">} unchecked where the browser offers no SHA-256, which
 * is so on pages from other machines without HTTPS, or where the server sent none
 */
export async function prove(reply, complete) {
  if (complete.length !== undefined && complete.length !== reply.text.length) return "different";
  if (!complete.sha256 || !globalThis.crypto?.subtle) return "unchecked";
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(reply.text));
  return hex(digest) === complete.sha256.toLowerCase() ? "verified" : "different";
}

function hex(buffer) {
  return Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
