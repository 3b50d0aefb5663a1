/** The list of the user's conversations, latest first. Opens them, and deletes them after a second question. */

import { button, element } from "./dom.js";

export class ConversationList {
  #list;
  #more;
  #complaint;
  #http;
  #open;
  #deleted;
  #known = new Map(); // by id, in the order of the list
  #rows = new Map(); // by id: {row, title, time, remove}
  #deletions = 0;
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

  /** Mark the conversation that is on the screen. */
  mark(conversation) {
    this.#current = conversation;
    for (const row of this.#list.children) row.toggleAttribute("data-current", row.dataset.id === conversation);
  }

  /** Ask for the latest conversations. Call when something was said anywhere. */
  refresh() {
    return this.#try(async () => {
      const page = await this.#page();
      if (!this.#known.size || page.next === null) this.#next = page.next;
      this.#known = new Map([...byId(page), ...[...this.#known].filter(([, known]) => isAfter(page, known))]);
      this.#draw();
    });
  }

  async #showMore() {
    const page = await this.#page(this.#next);
    this.#next = page.next;
    this.#known = new Map([...this.#known, ...byId(page)]);
    this.#draw();
  }

  /** Ask again for a page that was under way during a deletion: it may still list what was deleted. */
  async #page(cursor = null) {
    const deletions = this.#deletions;
    const page = await this.#http.conversations(cursor);
    return deletions === this.#deletions ? page : this.#page(cursor);
  }

  /** Keep rows, and move none that is in place: a row may have the focus, a question, or a button half pressed. */
  #draw() {
    this.#rows = new Map([...this.#known.keys()].map((id) => [id, this.#rows.get(id) ?? this.#newRow(id)]));
    const rows = [...this.#rows.values()].map(({ row }) => row);
    if (rows.length !== this.#list.children.length || rows.some((row, at) => row !== this.#list.children[at])) {
      const focused = document.activeElement;
      this.#list.replaceChildren(...rows);
      if (this.#list.contains(focused)) focused.focus();
    }
    for (const conversation of this.#known.values()) this.#drawRow(conversation);
    this.#more.hidden = this.#next === null;
    this.mark(this.#current);
  }

  #newRow(id) {
    const row = element("li", "conversation");
    row.dataset.testid = "conversation";
    row.dataset.id = id;
    const title = element("span", "title");
    const time = element("time", "time");
    const open = button("open", "", () => this.#try(() => this.#open(id)));
    open.append(title, time);
    const remove = button("remove", "", () => this.#ask(row, id));
    remove.dataset.testid = "delete";
    row.append(open, remove);
    return { row, title, time, remove };
  }

  #drawRow({ id, title, updated_at }) {
    const drawn = this.#rows.get(id);
    drawn.title.textContent = title;
    drawn.time.textContent = when(new Date(updated_at));
    drawn.remove.setAttribute("aria-label", `Delete “${title}”`);
  }

  #ask(row, id) {
    const asked = [...row.children];
    const yes = button("yes", "Delete", () => this.#try(() => this.#delete(id)));
    const no = button("no", "Keep", () => {
      row.replaceChildren(...asked);
      asked.at(-1).focus();
    });
    yes.dataset.testid = "delete-confirm";
    row.onkeydown = (event) => {
      if (event.key !== "Escape" || !no.isConnected) return;
      event.preventDefault(); // Escape answers the question; it stops no reply and closes no drawer
      no.click();
    };
    row.replaceChildren(element("span", "question", "Delete it for good?"), yes, no);
    no.focus();
  }

  async #delete(id) {
    await this.#http.deleteConversation(id);
    this.#deletions += 1;
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

/** Whether a conversation comes after the page. If it belongs on the page and is missing, it was deleted elsewhere. */
function isAfter({ conversations, next }, { id, updated_at }) {
  const isOnPage = conversations.some((conversation) => conversation.id === id);
  return next !== null && !isOnPage && updated_at < conversations.at(-1).updated_at;
}

/** Return the time, if the date is today's; else the day. */
function when(date) {
  const today = date.toDateString() === new Date().toDateString();
  const style = today ? { hour: "2-digit", minute: "2-digit" } : { day: "numeric", month: "short" };
  return date.toLocaleString([], style);
}
