/** What stands below a reply: how it ended, whether its text is the server's, and what can be done about it. */

import { isWhole, isWithdrawable } from "../../clients/js/client.js";
import { waitText } from "../cures.js";
import { usedBy } from "../usage.js";
import { copyButton } from "./clipboard.js";
import { button, element } from "./dom.js";
import { toolbar } from "./keyboard.js";

/** How a reply that ended otherwise than by itself is explained, by its `stop_reason`. */
export const ENDINGS = {
  max_tokens: "It was cut off at the length limit.",
  refusal: "The model declined to go on.",
  model_context_window_exceeded: "The conversation has grown too long for the model.",
  cancelled: "Stopped.",
};

const COUNT_MS = 250;
/** What is told in minutes needs no more. */
const LONG_COUNT_MS = 5000;
const LONG_S = 150;

export class Foot {
  element = element("footer", "foot");
  #does;
  #shown = null;
  #counting = null;

  /**
   * @param {object} does
   * @param {() => void} does.retry
   * @param {() => void} does.withdraw
   * @param {() => void} does.regenerate
   * @param {() => void} does.edit
   */
  constructor(does) {
    this.#does = does;
  }

  /** Drawn only when it is another one: a part of it may have the focus. */
  show(exchange) {
    const { status, end, proof, error, preparing, returned } = exchange;
    const offers = [isWhole(exchange), isWithdrawable(exchange), waitsForConnection(exchange), preparing, returned];
    const shown = JSON.stringify([status, end?.stop_reason, proof, error, offers]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    clearTimeout(this.#counting);
    this.element.replaceChildren(...this.#parts(exchange));
  }

  #parts(exchange) {
    const { status, end, proof, reply } = exchange;
    if (waitsForConnection(exchange)) return [this.#waiting(exchange)];
    if (status === "failed") return [this.#failure(exchange), ...copyOf(reply)];
    if (status !== "complete") return [];
    const parts = [verdict(proof, reply.length), ...usedIn(end), this.#offers(exchange)];
    if (ENDINGS[end.stop_reason]) parts.unshift(part("ending", ENDINGS[end.stop_reason]));
    return parts;
  }

  #waiting(exchange) {
    const waiting = part("waiting", exchange.preparing ? "Uploading its files" : "Waiting for the connection");
    if (isWithdrawable(exchange)) waiting.append(this.#withdrawButton("Take back"));
    return waiting;
  }

  #failure(exchange) {
    const { error } = exchange;
    const box = element("div", "failure");
    box.dataset.testid = "error";
    box.dataset.code = error.code;
    box.append(element("p", "", error.content));
    if (error.retryable && isWhole(exchange)) box.append(this.#retryButton(error.retryAt));
    else if (isWithdrawable(exchange) && !exchange.returned) box.append(this.#withdrawButton("Edit"));
    return box;
  }

  /** What can be done with a reply that is complete. */
  #offers(exchange) {
    const offers = element("span", "offers");
    offers.append(...copyOf(exchange.reply), this.#offer("regenerate", "Ask again"));
    if (isWhole(exchange)) offers.append(this.#offer("edit", "Edit message"));
    toolbar(offers, "This reply");
    return offers;
  }

  #offer(name, text) {
    const offer = button(name, text, this.#does[name]);
    offer.dataset.testid = name;
    return offer;
  }

  #withdrawButton(text) {
    const withdraw = button("withdraw", text, this.#does.withdraw);
    withdraw.dataset.testid = "withdraw";
    return withdraw;
  }

  #retryButton(retryAt) {
    const retry = button("retry", "", this.#does.retry);
    retry.dataset.testid = "retry";
    const count = () => {
      const seconds = Math.ceil((retryAt - Date.now()) / 1000);
      retry.disabled = seconds > 0;
      retry.textContent = seconds > 0 ? `Try again in ${waitText(seconds)}` : "Try again";
      if (seconds > 0) this.#counting = setTimeout(count, seconds > LONG_S ? LONG_COUNT_MS : COUNT_MS);
    };
    count();
    return retry;
  }
}

/** Whether the message was not sent yet by anybody. */
export function waitsForConnection({ status, sentAt }) {
  return status === "queued" && sentAt === null;
}

/** A button that copies the texts of the reply as the model has written them, if there are any. */
function copyOf(reply) {
  if (!reply?.text) return [];
  const copy = copyButton("copy", "Copy reply", () => textsOf(reply).join("\n\n"));
  copy.dataset.testid = "copy-reply";
  return [copy];
}

/** What stands between two texts ends the last paragraph of the first. */
function textsOf({ parts }) {
  return parts.filter(({ type }) => type === "message").map(({ content }) => content.trim());
}

function verdict(proof, length) {
  const count = `${length.toLocaleString("en")} characters`;
  const [text, title] = {
    verified: [`✓ ${count}`, "Length and SHA-256 agree with what the server sent."],
    unchecked: [count, "This page cannot compute SHA-256 here, so only the length was compared."],
    kept: [count, "As the server has kept it."],
    different: ["⚠ This text is not what the server sent", "Length or SHA-256 differs from the server's."],
  }[proof] ?? ["", ""];
  const mark = part(proof ?? "proving", text);
  mark.title = title;
  mark.dataset.testid = "proof";
  mark.dataset.proof = proof ?? "";
  return mark;
}

/** Return what the reply has used, if that is known. */
function usedIn(end) {
  const used = usedBy(end);
  if (!used) return [];
  const mark = part("used", used.text);
  mark.title = used.title;
  mark.dataset.testid = "used";
  return [mark];
}

function part(name, text) {
  return element("span", `foot-${name}`, text);
}
