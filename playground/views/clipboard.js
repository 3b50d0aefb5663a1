/** Copies text, also over plain http from another machine, where browsers give scripts no clipboard. */

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

/** Copy. @returns whether the text is on the clipboard now */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copiedBySelection(text); // there is no clipboard for scripts here, or it refuses
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
