/** What whoever sits before this page can do about an error: its cause, and what to change here. Pure. */

const AGAIN = "and start `make run` again";

/** Why the service behind an agent refuses this deployment, by the `reason` of an `error` frame. */
const DENIED = {
  key: ({ name, variable }) => `${name} refused the key of this relay. Check ${variable} ${AGAIN}.`,
  account: ({ name }) => `${name} says that this account is used up or closed. Add credit there, or raise its limit, and send the message again.`,
  permission: ({ name, variable }) => `${name} does not let this key do that. Check what the key in ${variable} may do, or take another ${AGAIN}.`,
  model: ({ name, model }) =>
    model
      ? `${name} does not have the model that this relay asks for, or not for this key. Name another with --parameter ${model}=… ${AGAIN.replace("`make run`", "the gateway")}.`
      : `${name} does not have the model that this relay asks for. Change it there ${AGAIN}.`,
  settings: ({ name, variable }) => `${name} does not take what this relay asks with. Check ${variable}, its address and the parameters of the template, ${AGAIN}.`,
  unreachable: ({ name }) => `${name} cannot be reached from the machine that runs this relay. Check its network, and the address if you have set one, and try again.`,
};

/**
 * @param {object} error an `error` frame
 * @param {{name, variable, model?} | null} service the one behind the agent; null if the deployment has none
 * @returns the error, with a sentence that says what to do
 */
export function explained(error, service) {
  const cure = service && DENIED[error.reason];
  return cure ? { ...error, content: cure(service) } : error;
}

/** How an agent is set up that this deployment does not have. */
export function setUp(name) {
  return `${name} is not set up here. Start the gateway with OPENAI_API_KEY=… .venv/bin/python -m infra.local --parameter CodexBackend=openai`;
}

/** What the relay's HTTP API refuses, by its `code`; other codes have sentences of their own. */
const REFUSED = {
  unauthorized: "The relay does not take this key. Click “Key needed” at the top, and give it the one that `make run` has printed.",
  too_large: "That is larger than the relay takes. Make it smaller, or divide it.",
  unreached: "The relay cannot be reached. See whether `make run` is running and this device has a network; what you wrote is kept.",
};

/** A refusal of the HTTP API as a sentence with a cure. `status` is the answer's; 0 if there was none. */
export function advice(code, status, sentence) {
  if (REFUSED[code]) return REFUSED[code];
  if (status >= 500) return "The relay could not do that just now. Try again in a moment.";
  return sentence ?? `The relay refused that (${status}). Load this page again; if that does not help, see what \`make run\` says.`;
}
