/** What a reply cites: links below its text, each url once. */

import { element } from "./dom.js";

export class SourcesView {
  element = element("ol", "sources");
  #shown = "";

  constructor() {
    this.element.dataset.testid = "sources";
    this.element.setAttribute("aria-label", "Sources");
  }

  show(parts) {
    const sources = new Map(parts.filter(({ type }) => type === "source").map((part) => [part.content, part.title]));
    const links = [...sources].filter(([url]) => isWeb(url));
    const now = JSON.stringify(links);
    if (now === this.#shown) return;
    this.#shown = now;
    this.element.replaceChildren(...links.map(link));
    this.element.hidden = links.length === 0;
  }
}

/** A model's text may name any address: a page follows those of the web only. */
function isWeb(url) {
  return URL.canParse(url) && ["http:", "https:"].includes(new URL(url).protocol);
}

function link([url, title]) {
  const item = element("li");
  const anchor = element("a");
  Object.assign(anchor, { href: url, target: "_blank", rel: "noopener noreferrer", textContent: title || url });
  item.append(anchor);
  return item;
}
