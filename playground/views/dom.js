/** Elements with a class and a text: what every panel is made of. */

export function element(tag, className = "", text = "") {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
}

/** Make the text of a node that one. Append if possible: that leaves a selection where it is. */
export function write(node, text) {
  const written = node.textContent;
  if (written === text) return;
  if (written && text.startsWith(written)) (node.firstChild ?? node).appendData(text.slice(written.length));
  else node.textContent = text;
}

/** Let the keyboard reach and scroll a box that may hold more than it shows. */
export function scrollable(box, name) {
  box.tabIndex = 0;
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", name);
  return box;
}

export function button(className, text, act) {
  const node = element("button", className, text);
  node.type = "button";
  node.addEventListener("click", act);
  return node;
}
