/**
 * One exchange: the user's message and the reply to it. Values only: no socket, no clock.
 *
 *   queued ─► sent ─► typing ─► writing ─► complete
 *      │         └───────┴─────────┴─────► failed ─► (retry, same id) queued
 *      └─► (withdraw) withdrawn              └─► (withdraw, if it was refused for good) withdrawn
 *
 * `replaced` is where it ends when another message has taken its place, or that of one before it.
 * `left` is where an exchange ends whose conversation was left: the server has the message, and its reply is not
 * followed here.
 */

import { storedReply } from "./assembly.js";

/** The error of a reply that ended in the middle, if the server names no other. */
export const BROKE_OFF = { code: "interrupted", content: "The answer broke off here.", retryable: true };

export function newExchange(conversation, id, content, status, attachments = []) {
  return {
    conversation,
    id,
    content, // null if another device sent the message and its words are not known here
    truncated: false, // whether `content` is only the beginning
    attachments, // {url, filename, mime_type, size} of each; a file without a url is uploaded first
    status,
    replaces: null, // the message in whose place this one comes
    regenerates: null, // the reply in whose place another one was asked for, and has not begun
    own: false, // sent from here
    wasSent: false, // the server may have it
    kept: false, // the server has it by HTTP, and says no more of it before its turn
    preparing: false, // its files are being uploaded
    returned: false, // the app has put it back into its composer, and does not offer that again
    stops: false, // the user wants no more of the reply; the server is told with the next connection
    waits: false, // for the replies before it
    reply: null,
    resuming: false,
    acknowledged: false, // the server knows that this device has shown it
    error: null, // the error frame and `retryAt`, milliseconds since 1970
    end: null, // the `complete` frame, or what the server's store has of it
    proof: null, // "verified", "different" or "unchecked"; "kept" if it comes from the server's store
    isBehind: false, // the reply has ended, and the rest of it has been asked for
    arrivals: [], // {at, chars} of every frame of the log; `at` and the two below are performance.now()
    sentAt: null,
    endedAt: null,
  };
}

/** Return the exchange that a turn of the server's store describes. */
export function recalled(conversation, { id, content, attachments, reply: told }) {
  const { id: reply, status, parts, error, model, usage, cost } = told;
  const owed = status === "queued" || status === "streaming";
  const broken = hasFailed(status);
  return {
    ...newExchange(conversation, id, content, owed ? "typing" : broken ? "failed" : "complete", attachments),
    waits: status === "queued",
    acknowledged: !owed,
    reply: storedReply(reply, parts),
    error: broken ? { ...(error ?? BROKE_OFF), retryAt: 0 } : null,
    end: owed || broken ? null : { stop_reason: status, model, usage, cost },
    proof: owed ? null : "kept",
  };
}

/** Whether the server has accepted the message and owes (the rest of) a reply. */
export function isOpen({ status }) {
  return status === "typing" || status === "writing";
}

/** Whether the server has said how the reply ended: what comes of it later is late. */
export function hasEnded({ status, error }) {
  return status === "complete" || (status === "failed" && error.length !== undefined);
}

/** Whether all that the user said is known here, so that the message can be sent again. */
export function isWhole({ content, truncated }) {
  return content !== null && !truncated;
}

/** Whether the server may not have the message. */
export function isUnsettled({ status, reply }) {
  return status === "queued" || status === "sent" || (status === "failed" && !reply);
}

/** Whether the message may have to be sent again, so that it and its files must not be lost. */
export function isUnanswered({ status }) {
  return !["complete", "withdrawn", "left", "replaced"].includes(status);
}

/** Whether the server certainly has not taken the message, or will never answer it as it is. */
export function isWithdrawable({ own, status, wasSent, error, reply }) {
  if (!own) return false;
  if (status === "failed" && !error.retryable) return !reply?.text;
  return !wasSent && (status === "queued" || status === "failed");
}

/** Whether a reply with that status, as the server's store names it, did not come to its end. */
export function hasFailed(status) {
  return status === "failed" || status === "interrupted";
}

export function lacksFiles({ attachments }) {
  return attachments.some(({ url }) => !url);
}

/** Return what an exchange is before its reply. */
export function unreplied() {
  const said = { isBehind: false, error: null, end: null, proof: null, arrivals: [] };
  return { ...said, acknowledged: false, stops: false };
}

/**
 * Merge what the server has (`told`) with what is here (`present`).
 *
 * An exchange that only is here stays behind what it follows. What the server may not have comes last.
 */
export function inOrder(told, present) {
  const isTold = new Set(told);
  const following = new Map([[null, []], ...told.map((exchange) => [exchange, []])]);
  const last = [];
  let before = null;
  for (const exchange of present) {
    if (isTold.has(exchange)) before = exchange;
    else (isUnsettled(exchange) ? last : following.get(before)).push(exchange);
  }
  return [...following.get(null), ...told.flatMap((exchange) => [exchange, ...following.get(exchange)]), ...last];
}
