/** The side panel: how fast the latest reply came, and every frame that went over the socket. */

import { shared } from "../state/storage.js";

const KEPT_FRAMES = 500;
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 320;
const HEIGHT = 56;
/** Drawing the panel with each frame of the screen would take the time that the reply needs. */
const REST_MS = 250;

export class Inspector {
  #timings;
  #frames;
  #lag;
  #fold;
  #resized;

  /**
   * @param {HTMLElement} panel
   * @param {HTMLElement} fold the button that hides and shows it
   * @param {() => void} resized called when the room beside the panel has changed
   */
  constructor(panel, fold, resized) {
    this.#timings = new TimingView(panel);
    this.#frames = new FrameList(panel.querySelector("[data-frames]"), panel.querySelector("[data-frame-count]"));
    this.#lag = panel.querySelector("[data-testid=lag]");
    this.#fold = fold;
    this.#resized = resized;
    fold.addEventListener("click", () => this.#toggle());
    this.#become(shared.getItem("folded") !== null);
  }

  /** @param {object | null} exchange the latest */
  show(exchange) {
    this.#timings.show(exchange);
  }

  add(frame) {
    this.#frames.add(frame);
  }

  /** @param {number | null} ms to the server and back */
  showLag(ms) {
    this.#lag.textContent = ms === null ? "–" : `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
  }

  #toggle() {
    const isFolded = !document.documentElement.hasAttribute("data-folded");
    this.#become(isFolded);
    if (isFolded) shared.setItem("folded", "yes");
    else shared.removeItem("folded");
  }

  #become(isFolded) {
    document.documentElement.toggleAttribute("data-folded", isFolded);
    this.#fold.setAttribute("aria-expanded", String(!isFolded));
    this.#resized();
  }
}

/** Return the numbers of one exchange, times in milliseconds; null where nothing is known yet. */
function timing({ sentAt, endedAt, arrivals, reply }) {
  const gaps = arrivals.slice(1).map((arrival, index) => arrival.at - arrivals[index].at);
  const chars = reply?.length ?? 0;
  const since = (at) => (sentAt === null || at == null ? null : at - sentAt);
  return {
    first: since(arrivals[0]?.at),
    total: since(endedAt ?? arrivals.at(-1)?.at),
    chars,
    frames: arrivals.length,
    perFrame: arrivals.length ? chars / arrivals.length : null,
    medianGap: median(gaps),
    maxGap: gaps.length ? Math.max(...gaps) : null,
  };
}

function median(values) {
  if (!values.length) return null;
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Writes into the elements whose `data-timing` names a number of `timing`. */
class TimingView {
  #fields;
  #strip;
  #exchange = null;
  #isStale = false;
  #timer = null;

  constructor(panel) {
    this.#fields = panel.querySelectorAll("[data-timing]");
    this.#strip = panel.querySelector("[data-strip]");
  }

  /** Draw at once, and then four times a second at most. */
  show(exchange) {
    this.#exchange = exchange;
    this.#isStale = this.#timer !== null;
    if (!this.#isStale) this.#draw();
  }

  #draw() {
    this.#timer = setTimeout(() => {
      this.#timer = null;
      if (this.#isStale) this.show(this.#exchange);
    }, REST_MS);
    const exchange = this.#exchange;
    const numbers = exchange && timing(exchange);
    for (const field of this.#fields) field.textContent = shown(field.dataset, numbers?.[field.dataset.timing]);
    drawStrip(this.#strip, exchange?.arrivals ?? []);
  }
}

function shown({ unit }, value) {
  if (value == null) return "–";
  if (unit === "ms" && value >= 10_000) return `${(value / 1000).toFixed(1)} s`;
  if (unit === "ms") return `${Math.round(value).toLocaleString("en")} ms`;
  return value.toLocaleString("en", { maximumFractionDigits: 1 });
}

/** Draw a bar for each frame: its place says when the frame came, its height how much it brought. */
function drawStrip(svg, arrivals) {
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  const start = arrivals[0]?.at ?? 0;
  const duration = Math.max(500, (arrivals.at(-1)?.at ?? 0) - start);
  const most = Math.max(1, ...arrivals.map(({ chars }) => chars));
  const width = Math.min(2.5, Math.max(0.5, (WIDTH / arrivals.length) * 0.5));
  const bars = arrivals.map(({ at, chars }) => {
    const height = Math.max(3, Math.sqrt(chars / most) * HEIGHT);
    return bar(((at - start) / duration) * (WIDTH - width), HEIGHT - height, width, height);
  });
  svg.replaceChildren(...bars);
}

function bar(x, y, width, height) {
  const rect = document.createElementNS(SVG, "rect");
  for (const [name, value] of Object.entries({ x, y, width, height, rx: width / 2 })) rect.setAttribute(name, value);
  return rect;
}

/** Lists every frame. The newest is at the bottom and stays in sight, unless the user looks at older frames. */
class FrameList {
  #list;
  #counter;
  #count = 0;
  #previousAt = null;

  constructor(list, counter) {
    this.#list = list;
    this.#counter = counter;
  }

  add({ direction, frame, text }) {
    const now = performance.now();
    const gap = this.#previousAt === null ? 0 : now - this.#previousAt;
    this.#previousAt = now;
    const follows = this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < 40;
    this.#list.append(frameRow({ direction, frame, text, gap }));
    while (this.#list.children.length > KEPT_FRAMES) this.#list.firstChild.remove();
    if (follows) this.#list.scrollTop = this.#list.scrollHeight;
    this.#count += 1;
    this.#counter.textContent = this.#count.toLocaleString("en");
  }
}

function frameRow({ direction, frame, text, gap }) {
  const row = document.createElement("details");
  row.className = "frame";
  row.dataset.testid = "frame";
  row.dataset.direction = direction;
  row.dataset.type = frame?.type ?? frame?.action ?? "unknown";
  const summary = document.createElement("summary");
  summary.append(
    cell("frame-direction", direction === "out" ? "↑" : "↓", direction === "out" ? "sent" : "received"),
    cell("frame-type", row.dataset.type),
    cell("frame-preview", frame?.content ?? ""),
    cell("frame-bytes", `${new TextEncoder().encode(text).length.toLocaleString("en")} B`),
    cell("frame-gap", `+${gapText(gap)}`, "since the frame before"),
  );
  row.append(summary);
  row.addEventListener("toggle", () => {
    if (!row.querySelector("pre")) row.append(json(frame, text));
    row.scrollIntoView({ block: "nearest" });
  });
  return row;
}

function gapText(ms) {
  return ms < 10_000 ? `${Math.round(ms)}` : `${Math.round(ms / 1000)} s`;
}

function cell(name, text, label) {
  const span = document.createElement("span");
  span.className = name;
  span.textContent = text;
  if (label) span.title = label;
  return span;
}

function json(frame, text) {
  const pre = document.createElement("pre");
  pre.textContent = frame ? JSON.stringify(frame, null, 2) : text;
  return pre;
}
