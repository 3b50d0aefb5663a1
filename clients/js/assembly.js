/**
 * Puts a reply's log together from frames that may be repeated, overlap, be missing or come from a writer that
 * has been replaced. No DOM, no clock, no network.
 *
 * Offsets and lengths count UTF-16 code units over all parts of the log, which is what `String.length` and `slice`
 * count. A part is `{number, type, content}` and the fields that describe it, as its frames have them.
 */

/** What a frame has beside the fields that describe its part. */
const OF_FRAMES = ["type", "content", "timestamp", "conversation", "reply", "epoch", "offset", "part"];

/** @param {string} id the reply's id */
export function newReply(id) {
  return { id, parts: [], length: 0, text: "", epoch: 0, logEpoch: 0 };
}

/** Return the reply whose parts the server's store has. */
export function storedReply(id, parts) {
  const reply = newReply(id);
  for (const [number, part] of parts.entries()) append(reply, { ...part, part: number }, part.content);
  return reply;
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
 * Put one frame of the log where it belongs. Its type may be one that nobody here knows.
 *
 * What a newer writer sends replaces what an older writer wrote from its offset on: the older writer may have sent words
 * that were never stored.
 *
 * @returns {"appended" | "repeated" | "gap" | "stale"} a gap leaves the log as it was: resume from its length
 */
export function place(reply, frame) {
  if (!isCurrent(reply, frame)) return "stale";
  if (frame.offset > reply.length) return "gap";
  if (reply.epoch > reply.logEpoch) cutBack(reply, frame.offset);
  reply.logEpoch = reply.epoch;
  const fresh = frame.content.slice(reply.length - frame.offset);
  if (fresh) append(reply, frame, fresh);
  return fresh ? "appended" : "repeated";
}

/** Leave nothing of the log behind `length`: more was shown than is kept. */
export function cutBack(reply, length) {
  while (reply.length > length) {
    const part = reply.parts.at(-1);
    const kept = part.content.slice(0, Math.max(0, part.content.length - (reply.length - length)));
    reply.length -= part.content.length - kept.length;
    part.content = kept;
    if (!kept) reply.parts.pop();
  }
  reply.text = reply.parts.map(({ type, content }) => (type === "message" ? content : "")).join("");
}

function append(reply, frame, fresh) {
  if (reply.parts.at(-1)?.number !== frame.part) reply.parts.push(described(frame));
  reply.parts.at(-1).content += fresh;
  reply.length += fresh.length;
  if (frame.type === "message") reply.text += fresh;
}

function described(frame) {
  const facts = Object.entries(frame).filter(([name]) => !OF_FRAMES.includes(name));
  return { number: frame.part, type: frame.type, content: "", ...Object.fromEntries(facts) };
}

/** Return how many UTF-16 code units are missing, by the length in the reply's last frame. */
export function missing(reply, last) {
  return Math.max(0, (last.length ?? reply.length) - reply.length);
}

/**
 * Compare the log with the length and the SHA-256 of its UTF-8 bytes in `complete`.
 *
 * @returns {Promise<"verified" | "different" | "unchecked">} unchecked where the browser offers no SHA-256, which
 * is so on pages from other machines without HTTPS, or where the server sent none
 */
export async function prove(reply, complete) {
  if (complete.length !== undefined && complete.length !== reply.length) return "different";
  if (!complete.sha256 || !globalThis.crypto?.subtle) return "unchecked";
  const log = reply.parts.map(({ content }) => content).join("");
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(log));
  return hex(digest) === complete.sha256.toLowerCase() ? "verified" : "different";
}

function hex(buffer) {
  return Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
