/** Links to pages of the web, each with its title and its host: what a text cites, and what a search has found. */

import { element } from "./dom.js";

/** @param {{url: string, title?: string}[]} pages */
export function linkList(className, label, pages) {
  const list = element("ol", className);
  list.setAttribute("aria-label", label);
  list.append(...pages.map(link));
  return list;
}

export function link({ url, title }) {
  const { hostname, pathname } = new URL(url);
  const host = hostname.replace(/^www\./, "");
  const item = element("li");
  const anchor = element("a");
  Object.assign(anchor, { href: url, target: "_blank", rel: "noopener noreferrer", title: title || url });
  anchor.append(element("span", "title", title || `${host}${pathname}`));
  if (title) anchor.append(" ", element("span", "host", host));
  item.append(anchor);
  return item;
}
