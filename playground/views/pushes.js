/**
 * Makes this page a device: registers for push notifications, and shows those that would have gone to a phone.
 *
 * A reply is pushed if nobody has seen its end: the page was hidden, or showed another conversation.
 */

import { hex } from "../../clients/js/random.js";
import { own } from "../state/storage.js";
import { news } from "./announcer.js";
import { button, element } from "./dom.js";

const MOST = 3;

export class Pushes {
  #bell;
  #list;
  #http;
  #open;
  #changed;
  #device = JSON.parse(own.getItem("device"));
  #events = null;
  #toggling = null;

  /**
   * @param {object} does
   * @param {(conversation: string) => Promise<void>} does.open
   * @param {() => void} does.changed called when the page has become a device, or has ceased to be one
   */
  constructor(bell, list, http, { open, changed }) {
    this.#bell = bell;
    this.#list = list;
    this.#http = http;
    this.#open = open;
    this.#changed = changed;
    this.#draw();
  }

  /** The name under which this page has registered; null if it has not. */
  get device() {
    return this.#device?.id ?? null;
  }

  /** Register again, once there is a key: the relay may have forgotten the device. */
  async start() {
    if (this.#device) await this.#register(this.#device);
  }

  /** Register or unregister. A second click while the first is under way changes nothing. */
  toggle() {
    this.#toggling ??= this.#toggle().finally(() => (this.#toggling = null));
    return this.#toggling;
  }

  async #toggle() {
    if (this.#device) await this.#remove();
    else await this.#register({ id: `page-${hex(8)}`, token: hex(32), platform: "ios" });
  }

  async #register(device) {
    await this.#http.registerDevice(device);
    this.#become(device);
    this.#events = new EventSource(`/pushes/events?token=${device.token}`);
    this.#events.addEventListener("message", ({ data }) => this.#show(JSON.parse(data)));
  }

  async #remove() {
    await this.#http.removeDevice(this.#device.id);
    this.#become(null);
  }

  #become(device) {
    this.#events?.close();
    this.#device = device;
    own.setItem("device", JSON.stringify(device));
    this.#draw();
    this.#changed();
  }

  #draw() {
    this.#bell.setAttribute("aria-pressed", String(this.#device !== null));
    this.#bell.title = this.#device
      ? "Pushes are shown here; click to end it"
      : "Be told of replies that you have not seen";
  }

  #show(push) {
    this.#list.prepend(this.#card(push));
    const { title, body } = push.payload.aps.alert;
    news(this.#list, `${title}. ${body}`);
    while (this.#list.children.length > MOST) this.#list.lastChild.remove();
  }

  /** Return title and body as a phone shows them, over the whole payload. */
  #card({ payload }) {
    const card = element("li", "push");
    card.dataset.testid = "push";
    const { title, body } = payload.aps.alert;
    const texts = element("summary");
    texts.append(element("b", "", title), element("span", "", body));
    const details = element("details");
    details.append(texts, element("pre", "", JSON.stringify(payload, null, 2)));
    const open = button("open", "Open", async () => {
      await this.#open(payload.conversation);
      card.remove();
    });
    const remove = button("remove", "", () => card.remove());
    open.dataset.testid = "push-open";
    remove.setAttribute("aria-label", "Dismiss");
    card.append(details, open, remove);
    return card;
  }
}
