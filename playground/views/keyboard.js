/** What the page adds to the browser's own keyboard: a list that is one Tab stop, and a focus that is never lost. */

const FOCUSABLE = "button:not(:disabled), a[href], summary, [tabindex='0']";

/** Whether an input method is at work. Safari ends a composition before its last keydown, whose code is 229. */
export function isComposing(event) {
  return event.isComposing || event.keyCode === 229;
}

export function isTyping(target) {
  return target.matches("input, textarea, [contenteditable]");
}

/** Return how far a key scrolls the messages, as a part of their height; 0 for other keys. */
export function pageOf({ key, altKey, ctrlKey, metaKey, shiftKey }) {
  if (altKey || ctrlKey || metaKey || shiftKey) return 0;
  return { PageUp: -0.9, PageDown: 0.9 }[key] ?? 0;
}

/**
 * Make a list one Tab stop: Tab reaches one row's buttons, arrows lead to the other rows (ARIA's roving tabindex).
 *
 * @param {HTMLElement} list whose children are rows with buttons; rows may come and go
 */
export function rove(list) {
  let current = null;
  const draw = () => {
    const rows = [...list.children];
    if (!list.contains(document.activeElement)) current = list.querySelector("[data-current]") ?? rows[0];
    for (const row of rows) for (const each of row.querySelectorAll("button")) each.tabIndex = row === current ? 0 : -1;
  };
  const enter = (row) => {
    current = row;
    draw();
  };
  new MutationObserver(draw).observe(list, { childList: true, subtree: true, attributeFilter: ["data-current"] });
  list.addEventListener("focusin", ({ target }) => enter(target.closest("li")));
  list.addEventListener("keydown", (event) => {
    const rows = [...list.children];
    const at = rows.indexOf(event.target.closest("li"));
    const next = { ArrowUp: rows[at - 1], ArrowDown: rows[at + 1], Home: rows[0], End: rows.at(-1) }[event.key];
    if (!next) return;
    event.preventDefault();
    next.querySelector("button").focus();
  });
}

/** Make a row of buttons one Tab stop: arrows lead from one to the next (ARIA's toolbar). */
export function toolbar(bar, label) {
  bar.role = "toolbar";
  bar.setAttribute("aria-label", label);
  const buttons = [...bar.children];
  const enter = (current) => {
    for (const each of buttons) each.tabIndex = each === current ? 0 : -1;
  };
  enter(buttons[0]);
  bar.addEventListener("focusin", ({ target }) => enter(target));
  bar.addEventListener("keydown", (event) => {
    const at = buttons.indexOf(event.target);
    const next = { ArrowLeft: buttons[at - 1], ArrowRight: buttons[at + 1] }[event.key];
    if (!next) return;
    event.preventDefault();
    next.focus();
  });
}

/**
 * When the element with the focus is removed, hidden or disabled, focus the next row of its list, or else `home()`.
 *
 * @param {() => HTMLElement} home
 */
export function keepFocus(home) {
  let last = null;
  let rows = null;
  let at = 0;
  document.addEventListener("focusin", ({ target }) => {
    last = target;
    const row = target.closest("li");
    rows = row?.parentElement;
    at = row ? [...rows.children].indexOf(row) : 0;
  });
  // A click elsewhere lets the focus go on purpose.
  document.addEventListener("pointerdown", () => (last = null), { capture: true });
  const check = () => {
    const { activeElement, body } = document;
    if (last === null || isUsable(last) || (activeElement !== last && activeElement !== body)) return;
    const row = rows?.children[Math.min(at, rows.children.length - 1)];
    const next = [...(row?.querySelectorAll(FOCUSABLE) ?? [])].find(isUsable) ?? home();
    last = null;
    next.focus();
  };
  const watched = { childList: true, subtree: true, attributes: true, attributeFilter: ["hidden", "disabled", "open"] };
  new MutationObserver(check).observe(document.body, watched);
}

function isUsable(element) {
  return element.isConnected && !element.disabled && element.checkVisibility();
}
