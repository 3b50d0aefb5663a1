/** Where the next message to the chat on the screen is written, with its files, and where a reply is stopped. */

import { receiveFiles } from "./file_sources.js";
import { isComposing, pageOf } from "./keyboard.js";

const CONTENT_BYTES = 300_000;
const COUNTER_FROM_BYTES = 280_000;

export class Composer {
  #input;
  #send;
  #stop;
  #counter;
  #complaint;
  #tray;
  #editing;
  #follower;
  #isTouch;
  #chat = null;

  /**
   * @param {HTMLElement} dock what the view consists of
   * @param {HTMLElement} phone on all of which files may be dropped
   * @param {Follower} follower of what is read above
   * @param {() => boolean} isTouch whether the keyboard is on the screen
   */
  constructor(dock, phone, follower, isTouch) {
    const part = (name) => dock.querySelector(`[data-testid=${name}]`);
    this.#input = part("composer");
    this.#send = part("send");
    this.#stop = part("stop");
    this.#counter = part("counter");
    this.#complaint = part("complaint");
    this.#tray = dock.querySelector("[data-tray]");
    this.#editing = part("editing");
    this.#editing.querySelector("button").addEventListener("click", () => this.#chat.keepAll());
    this.#follower = follower;
    this.#isTouch = isTouch;
    if (isTouch()) this.#input.enterKeyHint = "enter";
    dock.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#sendDraft();
    });
    this.#input.addEventListener("input", () => this.#typed());
    this.#input.addEventListener("keydown", (event) => this.#pressed(event));
    this.#stop.addEventListener("click", () => this.#chat.client.cancel());
    const places = { opener: part("attach"), picker: part("picker"), paste: this.#input, drop: phone };
    receiveFiles(places, (files) => this.#attach(files));
  }

  /** What is typed, also while the page was loading. */
  get content() {
    return this.#input.value;
  }

  /** Show the draft and the files of that chat from now on. */
  take(chat) {
    this.#chat = chat;
    this.#complaint.hidden = true;
    this.#tray.replaceChildren(chat.tray.element);
    this.#input.placeholder = `Message ${chat.name}`;
    this.showDraft();
  }

  /** Show what the chat has as its draft and the page has not: it came from elsewhere than the keyboard. */
  showDraft() {
    if (this.#input.value !== this.#chat.draft) this.#input.value = this.#chat.draft;
    const isBegun = this.#editing.hidden && this.#chat.editing !== null;
    this.#editing.hidden = this.#chat.editing === null;
    if (isBegun) this.#input.focus();
    this.#fit();
  }

  /** A reply that is being written can be stopped. Something can be sent only if something is there. */
  drawButtons() {
    const { isEmpty, isUploading } = this.#chat.tray;
    const drafted = this.#input.value.trim() !== "" || !isEmpty || isUploading;
    const { writing } = this.#chat.client;
    this.#stop.hidden = !writing;
    this.#stop.disabled = Boolean(writing?.stops);
    this.#stop.title = this.#stop.disabled ? "Stops with the next connection" : "Stop";
    this.#send.hidden = Boolean(writing) && !drafted;
    this.#send.disabled = !drafted || isUploading;
  }

  /** What takes the focus. */
  get element() {
    return this.#input;
  }

  /** Say what the page refuses to do. */
  complain(sentence) {
    this.#complaint.textContent = sentence;
    this.#complaint.hidden = false;
  }

  #typed() {
    this.#complaint.hidden = true;
    this.#chat.write(this.#input.value);
    this.#fit();
  }

  #pressed(event) {
    const isLong = this.#input.scrollHeight > this.#input.clientHeight;
    // A draft that is longer than its box is scrolled itself.
    if (pageOf(event) && !isLong) {
      event.preventDefault();
      this.#follower.turn(pageOf(event));
    }
    // Enter also ends the choice of a character in Chinese, Japanese or Korean; then it is not meant for us.
    if (event.key !== "Enter" || event.shiftKey || isComposing(event)) return;
    if (this.#isTouch() && !event.ctrlKey && !event.metaKey) return; // no other key for a new line there
    event.preventDefault();
    this.#sendDraft();
  }

  #sendDraft() {
    this.#complaint.hidden = true;
    const { tray } = this.#chat;
    const content = this.#input.value.trim();
    if (tray.isUploading)
      return this.complain("The files are still on their way. Send the message when they are there.");
    if (!content && tray.isEmpty) return;
    const size = utf8Bytes(content);
    if (size > CONTENT_BYTES) return this.complain(tooLong(size));
    this.#chat.send();
    this.#follower.toEnd();
  }

  #attach(files) {
    const refused = this.#chat.tray.add(files);
    if (refused) this.complain(refused);
    this.#input.focus();
  }

  #fit() {
    this.#input.style.height = "auto";
    this.#input.style.height = `${this.#input.scrollHeight}px`;
    this.#follower.resized();
    this.drawButtons();
    this.#count(this.#input.value.trim());
  }

  #count(content) {
    // Counting bytes of every draft on every key press is wasteful: no UTF-16 unit takes more than 3 in UTF-8.
    const size = content.length * 3 < COUNTER_FROM_BYTES ? 0 : utf8Bytes(content);
    this.#counter.hidden = size < COUNTER_FROM_BYTES;
    this.#counter.textContent = `${kilobytes(size)} of ${kilobytes(CONTENT_BYTES)} KB`;
    this.#counter.dataset.over = String(size > CONTENT_BYTES);
  }
}

function tooLong(size) {
  return `This message has ${kilobytes(size)} KB, of at most ${kilobytes(CONTENT_BYTES)}. Please divide it.`;
}

function utf8Bytes(text) {
  return new TextEncoder().encode(text).length;
}

function kilobytes(size) {
  return (size / 1000).toFixed(1);
}
