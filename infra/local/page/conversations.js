/** The list of the user's conversations, latest first: opens one, and deletes one that is asked about twice. */

import { button, element } from "./dom.js";

export class ConversationList {
  #list;
  #more;
  #complaint;
  #http;
  #open;
  #deleted;
  #known = new Map(); // by id, in the order of the list
  #next = null;
  #current = null;

  /**
   * @param {HTMLElement} panel with a `[data-list]`, a `[data-more]` button and a `[data-complaint]`
   * @param {object} does
   * @param {(conversation: string) => Promise<void>} does.open
   * @param {(conversation: string) => void} does.deleted called after one was
   */
  constructor(panel, http, { open, deleted }) {
    this.#list = panel.querySelector("[data-list]");
    this.#more = panel.querySelector("[data-more]");
    this.#complaint = panel.querySelector("[data-complaint]");
    this.#http = http;
    this.#open = open;
    this.#deleted = deleted;
    this.#more.addEventListener("click", () => this.#try(() => this.#showMore()));
  }

  /** Which one is on the screen. */
  mark(conversation) {
    this.#current = conversation;
    for (const row of this.#list.children) row.toggleAttribute("data-current", row.dataset.id === conversation);
  }

  /** Call when something was said anywhere: the latest are looked at again. */
  refresh() {
    return this.#try(async () => {
      const page = await this.#http.conversations();
      if (!this.#known.size) this.#next = page.next;
      this.#known = new Map([...byId(page), ...[...this.#known].filter(([id]) => !byId(page).has(id))]);
      this.#draw();
    });
  }

  async #showMore() {
    const page = await this.#http.conversations(this.#next);
    this.#next = page.next;
    this.#known = new Map([...this.#known, ...byId(page)]);
    this.#draw();
  }

  #draw() {
    const rows = [...this.#known.values()].map((conversation) => this.#row(conversation));
    this.#list.replaceChildren(...rows);
    this.#more.hidden = this.#next === null;
    this.mark(this.#current);
  }

  #row(conversation) {
    const row = element("li", "conversation");
    row.dataset.testid = "conversation";
    row.dataset.id = conversation.id;
    this.#drawRow(row, conversation);
    return row;
  }

  #drawRow(row, { id, title, updated_at }) {
    const open = button("open", "", () => this.#try(() => this.#open(id)));
    open.append(element("span", "title", title), element("time", "time", when(new Date(updated_at))));
    const remove = button("remove", "", () => this.#ask(row, { id, title, updated_at }));
    remove.setAttribute("aria-label", `Delete “${title}”`);
    remove.dataset.testid = "delete";
    row.replaceChildren(open, remove);
  }

  #ask(row, conversation) {
    const yes = button("yes", "Delete", () => this.#try(() => this.#delete(conversation.id)));
    const no = button("no", "Keep", () => this.#drawRow(row, conversation));
    yes.dataset.testid = "delete-confirm";
    row.replaceChildren(element("span", "question", "Delete it for good?"), yes, no);
    no.focus();
  }

  async #delete(id) {
    await this.#http.deleteConversation(id);
    this.#known.delete(id);
    this.#draw();
    this.#deleted(id);
  }

  async #try(attempt) {
    this.#complaint.hidden = true;
    try {
      await attempt();
    } catch (refusal) {
      this.#complaint.textContent = refusal.message;
      this.#complaint.hidden = false;
    }
  }
}

function byId({ conversations }) {
  return new Map(conversations.map((conversation) => [conversation.id, conversation]));
}

/** The time of today, the day of another one. */
function when(date) {
  const today = date.toDateString() === new Date().toDateString();
  const style = today ? { hour: "2-digit", minute: "2-digit" } : { day: "numeric", month: "short" };
  return date.toLocaleString([], style);
}
