/** The page: one chat an agent, each with a socket of its own, of which one is on the screen. */

import * as address from "./address.js";
import { Announcer, ConnectionNews } from "./announcer.js";
import { Chat } from "./chat.js";
import { Blobs } from "./blobs.js";
import { ConversationList } from "./conversations.js";
import { setUp } from "./cures.js";
import { button } from "./dom.js";
import { Http } from "./http.js";
import { Keep, changedElsewhere } from "./keep.js";
import { Keys } from "./keys.js";
import { isComposing, isTyping, keepFocus, pageOf, rove } from "./keyboard.js";
import { Pushes } from "./pushes.js";
import { Follower } from "./scroll.js";
import { own, shared } from "./storage.js";
import { FrameList, TimingView } from "./inspector.js";

const CONTENT_BYTES = 300_000;
const COUNTER_FROM_BYTES = 280_000;
const SUGGESTIONS = [
  "Show me something in a table",
  "Write a little Python code",
  "Tell me a long story",
  "Think about a riddle",
];

const NO_ROOM = "This browser has no room left for this page: what you type is lost when you close it. Free some, or send it now.";
const WHERE_KEYS_ARE = "The gateway prints one when it starts: the line “Development API key”.";

const $ = (selector) => document.querySelector(selector);
const pill = $("[data-testid=connection]");
const composer = $("[data-testid=composer]");
const send = $("[data-testid=send]");
const stop = $("[data-testid=stop]");
const counter = $("[data-testid=counter]");
const complaint = $("[data-testid=complaint]");
const latest = $("[data-testid=latest]");
const earlier = $("[data-testid=earlier]");
const fold = $("[data-testid=fold]");
const keyDialog = $("[data-testid=key-dialog]");
const drawer = $("[data-drawer]");
const helpDialog = $("[data-testid=help-dialog]");
const reading = $("[data-scroll]");
/** There is room for the conversations beside the chat. */
const wide = matchMedia("(min-width: 1180px)");
/** The keyboard is on the screen, and in the way of whoever only reads. */
const touch = matchMedia("(hover: none) and (pointer: coarse)");

const announcer = new Announcer($("[data-announcements]"));
const connectionNews = new ConnectionNews();

const follower = new Follower(reading, (following) => (latest.hidden = following));
const timings = new TimingView($("[data-timings]"));
const frames = new FrameList($("[data-frames]"), $("[data-frame-count]"));
const config = await configuration();
const http = new Http(config.limits);
const keys = new Keys(own, shared);
const keep = new Keep(shared, () => complain(NO_ROOM));
const blobs = new Blobs();
const conversations = new ConversationList(drawer, http, { open: openConversation, deleted: forget });
const bell = $("[data-testid=bell]");
const pushes = new Pushes(bell, $("[data-pushes]"), http, {
  open: (conversation) => openConversation(conversation).catch(({ message }) => complain(message)),
  changed: introduce,
});

// --- chats

/** What happens to a chat is drawn if it is the one on the screen. */
const screen = {
  connected(each) {
    if (each.connection.state === "rejected") refuseKey();
    if (each.connection.state === "online") {
      keys.accept(http.key);
      conversations.refresh();
    }
    if (each !== chat) return;
    drawConnection();
    const told = connectionNews.of(each.connection.state);
    if (told) announcer.say(told);
  },
  drafted: (each) => each === chat && showDraft(),
  drawn: (each) => each === chat && drawChat(),
  changed: (each) => each === chat && drawButtons(),
  lagged: (each) => each === chat && drawLag(),
  frame: (frame) => frames.add(frame),
  configured: drawConfiguration,
  moved(each) {
    if (each.latest.status === "typing") conversations.refresh(); // accepted, so the server lists it
    if (each.latest.status === "complete") acknowledge();
  },
};

/** How the relay runs: as it did when the page was loaded, or since it was started again. */
function drawConfiguration({ demonstration }) {
  $("[data-testid=demonstration]").hidden = !demonstration;
  drawSetUp();
}

function drawSetUp() {
  const notSetUp = $("[data-testid=not-set-up]");
  notSetUp.hidden = chat.cures !== null;
  notSetUp.textContent = setUp(chat.name);
}

function introduce() {
  for (const { client } of chats.values()) client.introduce(pushes.device);
}

/** What has been said in the chat on the screen, somebody sees. */
function acknowledge() {
  if (!document.hidden) chat.client.acknowledge();
}

/**
 * Shows the conversation in the chat with whom it was led, unless something else was chosen meanwhile. One in which
 * nothing was said yet is that of the `agent`, if one is named.
 */
async function openConversation(conversation, agent = null) {
  const choice = (choices += 1);
  const open = [...chats.values()].find(({ client }) => client.conversation === conversation);
  const page = open ? null : await turnsOf(conversation, agent);
  if (choice !== choices) return;
  switchTo(open?.agent ?? page.turns.at(-1)?.agent ?? agent ?? chat.agent);
  if (page) chat.open(conversation, page);
  showConversation();
}

async function turnsOf(conversation, agent) {
  try {
    return await http.turns(conversation);
  } catch (refusal) {
    if (agent && refusal.code === "forbidden") return { turns: [], next: null };
    throw refusal;
  }
}

function startAgain() {
  choices += 1;
  chat.open();
  showConversation();
}

function forget(conversation) {
  keep.forget(conversation);
  for (const each of chats.values()) each.forget(conversation);
  showDraft();
  markConversation();
  drawChat();
}

function showConversation() {
  if (drawer.matches(":popover-open")) drawer.hidePopover();
  complaint.hidden = true;
  markConversation();
  showDraft();
  drawButtons();
  drawChat();
  follower.toEnd();
  follower.resized();
  announcer.say(chat.transcript.isEmpty ? `New chat with ${chat.name}` : `Conversation with ${chat.name}`);
  home().focus();
}

/** Where whoever has nothing else to do goes on. */
function home() {
  return touch.matches ? reading : composer;
}

function markConversation() {
  const { conversation } = chat.client;
  conversations.mark(conversation);
  address.show(chat.agent, conversation);
}

/** The older page goes above what is being read, which stays where it is. */
async function recallEarlier() {
  const below = reading.scrollHeight - reading.scrollTop;
  try {
    await chat.recallEarlier();
    reading.scrollTop = reading.scrollHeight - below;
  } catch (refusal) {
    complain(refusal.message);
  }
}

function websocketUrl() {
  const url = new URL(config.websocket, location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

// --- the screen

function drawChat() {
  document.title = [chat.title, "Chat Relay"].filter(Boolean).join(" · ");
  const empty = chat.transcript.isEmpty;
  $("[data-testid=empty]").hidden = !empty;
  earlier.hidden = empty || chat.earlier === null;
  timings.show(chat.latest);
  follower.grown();
}

function drawConnection() {
  const { state, retryAt } = chat.connection;
  const seconds = retryAt ? Math.max(0, Math.ceil((retryAt - Date.now()) / 1000)) : 0;
  const texts = {
    stopped: "Key needed",
    connecting: "Connecting",
    online: "Online",
    reconnecting: seconds ? `Reconnecting in ${seconds} s` : "Reconnecting",
    offline: "Offline",
    rejected: "Key needed",
  };
  pill.dataset.state = state;
  const offers = { stopped: "Give a key", rejected: "Give a key", reconnecting: "Connect now", offline: "Connect now" };
  pill.title = offers[state] ?? "";
  pill.lastChild.textContent = texts[state];
  if (state === "reconnecting" && seconds) setTimeout(() => drawConnection(), 250);
}

function drawLag() {
  $("[data-testid=lag]").textContent = chat.lag === null ? "–" : `${chat.lag.toFixed(chat.lag < 10 ? 1 : 0)} ms`;
}

/** Who calls it marks the conversation, once it is the one that was meant: going back must not add to the history. */
function switchTo(agent) {
  choices += 1;
  complaint.hidden = true;
  chat = chats.get(agent);
  document.documentElement.dataset.agent = agent;
  for (const choice of $("[data-agents]").children) {
    choice.setAttribute("aria-checked", String(choice.dataset.agent === agent));
    choice.tabIndex = choice.dataset.agent === agent ? 0 : -1;
  }
  $("[data-transcript]").replaceChildren(chat.transcript.element);
  $("[data-tray]").replaceChildren(chat.tray.element);
  showDraft();
  composer.placeholder = `Message ${chat.name}`;
  $("[data-heading]").textContent = `Chat with ${chat.name}`;
  if (chat.connection.state === "stopped" && http.key) chat.start(http.key);
  drawSetUp();
  drawChat();
  drawConnection();
  drawLag();
  follower.toEnd();
  acknowledge();
}

/** Goes on with the conversation of that agent. */
function choose(agent) {
  switchTo(agent);
  markConversation();
}

// --- writing

function fitComposer() {
  composer.style.height = "auto";
  composer.style.height = `${composer.scrollHeight}px`;
  follower.resized();
  const content = composer.value.trim();
  drawButtons();
  // Counting bytes of every draft on every key press is wasteful: no UTF-16 unit takes more than 3 in UTF-8.
  const size = content.length * 3 < COUNTER_FROM_BYTES ? 0 : utf8Bytes(content);
  counter.hidden = size < COUNTER_FROM_BYTES;
  counter.textContent = `${kilobytes(size)} of ${kilobytes(CONTENT_BYTES)} KB`;
  counter.dataset.over = String(size > CONTENT_BYTES);
}

/** While a reply is being written, it can be stopped; there is something to send only if something is in the composer. */
function drawButtons() {
  const { isEmpty, isUploading } = chat.tray;
  const drafted = composer.value.trim() !== "" || !isEmpty || isUploading;
  const { writing } = chat.client;
  stop.hidden = !writing;
  stop.disabled = Boolean(writing?.stops);
  stop.title = stop.disabled ? "Stops with the next connection" : "Stop";
  send.hidden = Boolean(writing) && !drafted;
  send.disabled = !drafted || isUploading;
}

/** What the chat has in its composer, and the page does not: it came from elsewhere than the keyboard. */
function showDraft() {
  if (composer.value !== chat.draft) composer.value = chat.draft;
  fitComposer();
}

function sendDraft() {
  complaint.hidden = true;
  const content = composer.value.trim();
  if (chat.tray.isUploading) return complain("The files are still on their way. Send the message when they are there.");
  if (!content && chat.tray.isEmpty) return;
  const size = utf8Bytes(content);
  if (size > CONTENT_BYTES) return complainOfSize(size);
  chat.send();
  follower.toEnd();
}

function attach(added) {
  const refused = chat.tray.add(added);
  if (refused) complain(refused);
  composer.focus();
}

function complainOfSize(size) {
  complain(`This message has ${kilobytes(size)} KB, of at most ${kilobytes(CONTENT_BYTES)}. Please divide it.`);
}

function complain(sentence) {
  complaint.textContent = sentence;
  complaint.hidden = false;
}

function utf8Bytes(text) {
  return new TextEncoder().encode(text).length;
}

function kilobytes(size) {
  return (size / 1000).toFixed(1);
}

// --- the key

function askForKey(note) {
  $("[data-key-note]").textContent = note;
  if (!keyDialog.open) keyDialog.showModal();
}

function configuration() {
  return fetch("/playground/config.json").then((answer) => answer.json());
}

/** The relay may have been started again with another key, and gives that to its own page. */
async function refuseKey() {
  const refused = http.key;
  keys.refuse(refused);
  const { key } = (await configuration().catch(() => null)) ?? { key: null };
  if (http.key !== refused) return; // another one is being tried meanwhile
  if (key && key !== refused) useKey(key);
  else askForKey(`That key was not accepted. ${WHERE_KEYS_ARE}`);
}

function useKey(key) {
  http.key = key;
  for (const each of chats.values()) {
    if (each === chat || each.connection.state !== "stopped") each.start(key);
  }
  conversations.refresh();
  pushes.start().catch(() => {}); // a wrong key, or no network, shows elsewhere
}

// --- beside the chat

function isFolded() {
  return document.documentElement.hasAttribute("data-folded");
}

function foldPanel(folded) {
  document.documentElement.toggleAttribute("data-folded", folded);
  fold.setAttribute("aria-expanded", String(!folded));
  follower.resized();
}

// --- what the user does

$("[data-composer]").addEventListener("submit", (event) => {
  event.preventDefault();
  sendDraft();
});

composer.addEventListener("keydown", (event) => {
  // Enter also ends the choice of a character in Chinese, Japanese or Korean; then it is not meant for us.
  if (event.key !== "Enter" || event.shiftKey || isComposing(event)) return;
  if (touch.matches && !event.ctrlKey && !event.metaKey) return; // no other key for a new line there
  event.preventDefault();
  sendDraft();
});

composer.addEventListener("keydown", (event) => {
  // A draft that is longer than its box is scrolled itself.
  if (!pageOf(event) || composer.scrollHeight > composer.clientHeight) return;
  event.preventDefault();
  reading.scrollBy({ top: pageOf(event) * reading.clientHeight });
});

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || isComposing(event) || $("dialog[open], :popover-open")) return;
  if (event.key === "Escape" && chat.client.writing) chat.client.cancel();
  if (event.key === "?" && !isTyping(event.target)) helpDialog.showModal();
});

composer.addEventListener("input", () => {
  complaint.hidden = true;
  chat.write(composer.value);
  fitComposer();
});

const picker = $("[data-testid=picker]");
const phone = $(".phone");

$("[data-testid=attach]").addEventListener("click", () => picker.click());

picker.addEventListener("change", () => {
  attach(picker.files);
  picker.value = ""; // so that the same file may be chosen again
});

composer.addEventListener("paste", (event) => {
  if (!event.clipboardData.files.length) return;
  event.preventDefault();
  attach(event.clipboardData.files);
});

phone.addEventListener("dragover", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  phone.dataset.dropping = "";
});

phone.addEventListener("dragleave", (event) => {
  if (!phone.contains(event.relatedTarget)) delete phone.dataset.dropping;
});

phone.addEventListener("drop", (event) => {
  delete phone.dataset.dropping;
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  attach(event.dataTransfer.files);
});

stop.addEventListener("click", () => chat.client.cancel());

pill.addEventListener("click", () => {
  if (["rejected", "stopped"].includes(chat.connection.state)) askForKey(WHERE_KEYS_ARE);
  else chat.client.wake();
});

latest.addEventListener("click", () => follower.toEnd());

earlier.addEventListener("click", recallEarlier);

$("[data-testid=new-chat]").addEventListener("click", startAgain);

// Over the chat, it is all that there is: nothing behind it is reached until it begins to close.
drawer.addEventListener("beforetoggle", ({ newState }) => {
  if (newState === "open") conversations.refresh();
  else keepBehind(false);
});

drawer.addEventListener("toggle", ({ newState }) => {
  if (newState !== "open") return;
  keepBehind(true);
  drawer.querySelector("button").focus();
});

function keepBehind(isOpen) {
  for (const behind of document.querySelectorAll("[data-skip], main, aside")) behind.inert = isOpen;
  drawer.role = isOpen ? "dialog" : "navigation";
  drawer.ariaModal = isOpen ? "true" : null;
}

wide.addEventListener("change", () => drawer.matches(":popover-open") && drawer.hidePopover());

$("[data-skip]").addEventListener("click", (event) => {
  event.preventDefault(); // the address stays
  composer.focus();
});

$("[data-testid=help]").addEventListener("click", () => helpDialog.showModal());

$("[data-testid=help-close]").addEventListener("click", () => helpDialog.close());

fold.addEventListener("click", () => {
  foldPanel(!isFolded());
  if (isFolded()) shared.setItem("folded", "yes");
  else shared.removeItem("folded");
});

bell.addEventListener("click", async () => {
  try {
    await pushes.toggle();
  } catch (refusal) {
    complain(refusal.message);
  }
});

$("[data-testid=theme]").addEventListener("click", () => {
  const preferred = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const root = document.documentElement.dataset;
  root.theme = (root.theme ?? preferred) === "dark" ? "light" : "dark";
  shared.setItem("theme", root.theme);
});

$("[data-key-form]").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = event.target.elements.key.value.trim();
  keys.give(given, config.key === null);
  keyDialog.close();
  useKey(given);
});

$("[data-agents]").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  const agents = [...chats.keys()];
  const next = agents[(agents.indexOf(chat.agent) + step + agents.length) % agents.length];
  choose(next);
  $(`[data-agents] [data-agent=${next}]`).focus();
});

window.addEventListener("popstate", () => {
  const { agent, conversation } = address.shown() ?? {};
  if (!chats.has(agent)) return;
  openConversation(conversation, agent).catch(({ message }) => {
    markConversation();
    complain(message);
  });
});

window.addEventListener("online", () => chats.forEach(({ client }) => client.wake()));
window.addEventListener("offline", () => chats.forEach(({ client }) => client.loseNetwork()));
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  chat.client.wake();
  acknowledge();
  if (chat.connection.state !== "online") return; // all of it comes with the connection
  chat.catchUp();
  conversations.refresh();
});

window.addEventListener("storage", (event) => {
  const { agent, conversation, message, isGone } = changedElsewhere(event);
  if (isGone) chats.forEach((each) => each.droppedElsewhere(message));
  const each = chats.get(agent);
  if (each && each.client.conversation === conversation) each.draftedElsewhere();
});

function agentButton({ agent, name }) {
  const choice = button("", name, () => choose(agent));
  choice.dataset.agent = agent;
  choice.dataset.testid = `agent-${agent}`;
  choice.setAttribute("role", "radio");
  return choice;
}

function suggestionChip(text) {
  const chip = button("", text, () => {
    chat.say(text); // what is in the composer stays a draft
    follower.toEnd();
  });
  chip.dataset.testid = "suggestion";
  return chip;
}

let chat = null;
/** How often somebody has chosen what is on the screen. */
let choices = 0;
const about = { url: websocketUrl(), device: pushes.device, http, keep, blobs, config, configure: configuration, screen };
const begin = address.shown();
const conversationOf = (agent) => (begin?.agent === agent ? begin.conversation : null);
const chats = new Map(
  config.agents.map((agent) => [agent, new Chat(agent, { ...about, conversation: conversationOf(agent) })]),
);

$("[data-agents]").append(...[...chats.values()].map(agentButton));
$("[data-chips]").append(...SUGGESTIONS.map(suggestionChip));
rove($("[data-list]"));
keepFocus(home);
foldPanel(shared.getItem("folded") !== null);
if (touch.matches) composer.enterKeyHint = "enter";
const typed = composer.value; // while the page was loading, if the browser has not put the draft back by itself
choose(chats.has(begin?.agent) ? begin.agent : config.agents[0]);
if (typed && typed !== chat.draft) chat.add(typed);
drawConfiguration(config);
const key = keys.known ?? config.key;
if (key) useKey(key);
else askForKey(WHERE_KEYS_ARE);
blobs.sweep(keep.files());
home().focus();
