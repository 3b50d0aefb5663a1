/** Keeps the end of a growing text in sight until its reader scrolls up. */

const NEAR_PX = 24;

export class Follower {
  following = true;
  #box;
  #moving = false;
  #lastTop = 0;
  #calm = matchMedia("(prefers-reduced-motion: reduce)");

  /** @param {(following: boolean) => void} changed */
  constructor(box, changed) {
    this.#box = box;
    this.changed = changed;
    box.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    // Whoever unfolds something reads that. The event does not bubble.
    box.addEventListener("toggle", () => this.#follow(this.#distance < NEAR_PX), { capture: true });
    new ResizeObserver(() => this.resized()).observe(box);
  }

  /** The box has another size. Scroll at once: if the browser corrected the position, that would look like a reader. */
  resized() {
    if (!this.following) return;
    this.#box.scrollTop = this.#box.scrollHeight;
    this.#lastTop = this.#box.scrollTop;
  }

  /** The text has grown. */
  grown() {
    if (this.following && !this.#moving) this.#glide();
  }

  toEnd() {
    this.#follow(true);
    this.grown();
  }

  /** Scroll by that part of the box's height; upwards, if negative. */
  turn(part) {
    this.#box.scrollBy({ top: part * this.#box.clientHeight });
  }

  /** Let the text grow above what is being read, which stays where it is. */
  async growAbove(grow) {
    const below = this.#box.scrollHeight - this.#box.scrollTop;
    await grow();
    this.#box.scrollTop = this.#box.scrollHeight - below;
  }

  get #distance() {
    return this.#box.scrollHeight - this.#box.clientHeight - this.#box.scrollTop;
  }

  #scrolled() {
    const up = this.#box.scrollTop < this.#lastTop - 1;
    this.#lastTop = this.#box.scrollTop;
    if (this.#distance < NEAR_PX) this.#follow(true);
    else if (up) this.#follow(false);
  }

  #follow(following) {
    if (this.following === following) return;
    this.following = following;
    this.changed(following);
  }

  /** Scroll a part of the way each frame: smooth, however unevenly the text comes. */
  #glide() {
    this.#scrolled(); // the event of a key that has scrolled up meanwhile may be still to come
    this.#moving = this.following && this.#distance > 1;
    if (!this.#moving) return;
    const step = this.#calm.matches || document.hidden ? this.#distance : Math.max(1, this.#distance * 0.25);
    this.#box.scrollTop += Math.ceil(step);
    this.#lastTop = this.#box.scrollTop;
    requestAnimationFrame(() => this.#glide());
  }
}
