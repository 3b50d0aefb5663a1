/** Copying, also where the browser has no clipboard for scripts: it has one in secure contexts only, not over plain http. */

import { news } from "./announcer.js";
import { button } from "./dom.js";

const TOLD_MS = 4000;

/** @param {() => string} read what to copy, asked when somebody does */
export function copyButton(className, label, read) {
  const copy = button(className, label, async () => {
    const word = (await copied(read())) ? "Copied" : "Cannot copy here";
    copy.textContent = word;
    news(copy, word);
    setTimeout(() => (copy.textContent = label), TOLD_MS);
  });
  return copy;
}

/** @returns whether it is on the clipboard now */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copiedBySelection(text); // no such clipboard here, or it refuses
  }
}

function copiedBySelection(text) {
  const focused = document.activeElement;
  const place = document.createElement("textarea");
  place.className = "unseen";
  place.value = text;
  document.body.append(place);
  place.select();
  const done = document.execCommand("copy");
  place.remove();
  focused.focus({ preventScroll: true });
  return done;
}
