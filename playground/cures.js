/** What the user of this page can do about an error: its cause, and what to change here. Pure. */

const MINUTE_S = 60;

/**
 * @param {object} error an `error` frame
 * @param {Object<string, string> | null} cures sentences by the `reason` of a frame; null if the agent is not set up
 * @returns the error, with a sentence that says what to do if its cause is known here
 */
export function explained(error, cures) {
  const content = cures?.[error.reason];
  return content ? { ...error, content } : error;
}

/** Say how to set up an agent that this deployment does not have. */
export function setUp(name) {
  return `${name} is not set up here. Start the gateway with OPENAI_API_KEY=… .venv/bin/python -m emulator --parameter CodexBackend=openai`;
}

/** Return a sentence and when the same can work, if that is known. */
export function withWait(sentence, retryAfterS) {
  return retryAfterS ? `${sentence} Try again in ${waitText(retryAfterS)}.` : sentence;
}

/** Return how long a wait is, in the units that one waits in. Rounded up: who comes too early waits twice. */
export function waitText(seconds) {
  if (seconds <= 2 * MINUTE_S) return `${Math.ceil(seconds)} s`;
  const minutes = Math.ceil(seconds / MINUTE_S);
  if (minutes < 60) return `${minutes} min`;
  return minutes < 24 * 60 ? both(minutes, 60, "h", "min") : both(Math.ceil(minutes / 60), 24, "d", "h");
}

/** Return a count of a unit as so many of a larger unit, of `many` each, and the rest. */
function both(count, many, larger, unit) {
  const rest = count % many;
  return `${Math.floor(count / many)} ${larger}${rest ? ` ${rest} ${unit}` : ""}`;
}

/** Sentences for refusals of the HTTP API, by `code`. Other codes come with sentences of their own. */
const REFUSED = {
  unauthorized:
    "The relay does not take this key. Click “Key needed” at the top, and give it the one that `make run` has printed.",
  too_large: "That is larger than the relay takes. Make it smaller, or divide it.",
  unreached:
    "The relay cannot be reached. See whether `make run` is running and this device has a network; what you wrote is kept.",
};

/**
 * Return a refusal of the HTTP API as a sentence with a cure.
 *
 * @param {number} status the answer's; 0 if there was none
 * @param {number | null} retryAfterS when the same can work, if the answer says so
 */
export function advice(code, status, sentence, retryAfterS = null) {
  if (REFUSED[code]) return REFUSED[code];
  if (status === 429 && sentence) return withWait(sentence, retryAfterS);
  if (status >= 500) return "The relay could not do that just now. Try again in a moment.";
  return (
    sentence ??
    `The relay refused that (${status}). Load this page again; if that does not help, see what \`make run\` says.`
  );
}
