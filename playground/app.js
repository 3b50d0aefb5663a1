/** The page: one chat an agent, each with a socket of its own, of which one is on the screen. */

import { Chat } from "./chat.js";
import { setUp } from "./cures.js";
import { Http } from "./http.js";
import * as address from "./state/address.js";
import { Blobs } from "./state/blobs.js";
import { changedElsewhere, Keep } from "./state/keep.js";
import { Keys } from "./state/keys.js";
import { own, shared } from "./state/storage.js";
import { AgentChoice } from "./views/agents.js";
import { Announcer, ConnectionNews } from "./views/announcer.js";
import { Composer } from "./views/composer.js";
import { ConnectionPill } from "./views/connection.js";
import { ConversationList } from "./views/conversations.js";
import { Day } from "./views/day.js";
import { button } from "./views/dom.js";
import { Drawer } from "./views/drawer.js";
import { Inspector } from "./views/inspector.js";
import { KeyDialog } from "./views/key_dialog.js";
import { isComposing, isTyping, keepFocus, rove } from "./views/keyboard.js";
import { Pushes } from "./views/pushes.js";
import { Follower } from "./views/scroll.js";

const SUGGESTIONS = [
  "Show me something in a table",
  "Write a little Python code",
  "Tell me a long story",
  "Think about a riddle",
];
const NO_ROOM =
  "This browser has no room left for this page: what you type is lost when you close it. Free some, or send it now.";
const WHERE_KEYS_ARE = "The gateway prints one when it starts: the line “Development API key”.";

const $ = (selector) => document.querySelector(selector);
const reading = $("[data-scroll]");
const latest = $("[data-testid=latest]");
const earlier = $("[data-testid=earlier]");
const bell = $("[data-testid=bell]");
const helpDialog = $("[data-testid=help-dialog]");
/** The keyboard is on the screen, and in the way of whoever only reads. */
const touch = matchMedia("(hover: none) and (pointer: coarse)");

const config = await configuration();
const http = new Http(config.limits);
const keys = new Keys(own, shared);
const keep = new Keep(shared, () => composer.complain(NO_ROOM));
const blobs = new Blobs();

const announcer = new Announcer($("[data-announcements]"));
const connectionNews = new ConnectionNews();
const follower = new Follower(reading, (following) => (latest.hidden = following));
const inspector = new Inspector($("[data-panel]"), $("[data-testid=fold]"), () => follower.resized());
const composer = new Composer($(".dock"), $(".phone"), follower, () => touch.matches);
const drawer = new Drawer($("[data-drawer]"), () => conversations.refresh());
const conversations = new ConversationList($("[data-drawer]"), http, { open: openConversation, deleted: forget });
const day = new Day($("[data-testid=day]"), http);
const keyDialog = new KeyDialog($("[data-testid=key-dialog]"), (key) => {
  keys.give(key, config.key === null);
  useKey(key);
});
const pill = new ConnectionPill($("[data-testid=connection]"), {
  askForKey: () => keyDialog.ask(WHERE_KEYS_ARE),
  connect: () => chat.client.wake(),
});
const pushes = new Pushes(bell, $("[data-pushes]"), http, {
  open: (conversation) => openConversation(conversation).catch(complain),
  changed() {
    for (const { client } of chats.values()) client.introduce(pushes.device);
  },
});

/** Draws what happens to a chat, if that chat is on the screen. */
const screen = {
  connected(each) {
    const { state } = each.connection;
    if (state === "rejected") refuseKey();
    if (state === "online") {
      keys.accept(http.key);
      conversations.refresh();
    }
    if (each !== chat) return;
    pill.show(chat.connection);
    const told = connectionNews.of(state);
    if (told) announcer.say(told);
  },
  drafted: (each) => each === chat && composer.showDraft(),
  drawn: (each) => each === chat && drawChat(),
  changed: (each) => each === chat && composer.drawButtons(),
  lagged: (each) => each === chat && inspector.showLag(chat.lag),
  frame: (frame) => inspector.add(frame),
  configured: drawConfiguration,
  moved(each) {
    if (each.latest.status === "typing") conversations.refresh(); // accepted, so the server lists it
    if (each.latest.status === "complete") acknowledge();
    if (["complete", "failed"].includes(each.latest.status)) day.refresh();
  },
};

// --- which conversation is on the screen

/**
 * Show the conversation in the chat of the agent that answered in it, unless something else was chosen meanwhile. A
 * conversation in which nothing was said yet belongs to `agent`, if that is given.
 */
async function openConversation(conversation, agent = null) {
  choices += 1;
  const choice = choices;
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

/** Show the conversation that is open with that agent. */
function choose(agent) {
  switchTo(agent);
  markConversation();
}

function startAgain() {
  choices += 1;
  chat.open();
  showConversation();
}

function forget(conversation) {
  keep.forget(conversation);
  for (const each of chats.values()) each.forget(conversation);
  composer.showDraft();
  markConversation();
  drawChat();
}

/** Put that agent's chat on the screen. The caller marks the conversation: going back must not add to the history. */
function switchTo(agent) {
  choices += 1;
  chat = chats.get(agent);
  document.documentElement.dataset.agent = agent;
  agents.mark(agent);
  $("[data-transcript]").replaceChildren(chat.transcript.element);
  $("[data-heading]").textContent = `Chat with ${chat.name}`;
  composer.take(chat);
  if (chat.connection.state === "stopped" && http.key) chat.start(http.key);
  drawSetUp();
  drawChat();
  pill.show(chat.connection);
  inspector.showLag(chat.lag);
  follower.toEnd();
  acknowledge();
}

function showConversation() {
  drawer.close();
  markConversation();
  composer.take(chat);
  drawChat();
  follower.toEnd();
  follower.resized();
  announcer.say(chat.transcript.isEmpty ? `New chat with ${chat.name}` : `Conversation with ${chat.name}`);
  home().focus();
}

function markConversation() {
  const { conversation } = chat.client;
  conversations.mark(conversation);
  address.show(chat.agent, conversation);
}

function drawChat() {
  document.title = [chat.title, "Chat Relay"].filter(Boolean).join(" · ");
  const empty = chat.transcript.isEmpty;
  $("[data-testid=empty]").hidden = !empty;
  earlier.hidden = empty || chat.earlier === null;
  inspector.show(chat.latest);
  follower.grown();
}

/** Return where the focus belongs when nothing else claims it. */
function home() {
  return touch.matches ? reading : composer.element;
}

/** Tell the relay what the user can see, unless the page is hidden. */
function acknowledge() {
  if (!document.hidden) chat.client.acknowledge();
}

function complain({ message }) {
  composer.complain(message);
}

// --- the relay, as it is set up now, and its key

function configuration() {
  return fetch("/playground/config.json").then((answer) => answer.json());
}

function drawConfiguration({ demonstration }) {
  $("[data-testid=demonstration]").hidden = !demonstration;
  drawSetUp();
}

function drawSetUp() {
  const notSetUp = $("[data-testid=not-set-up]");
  notSetUp.hidden = chat.cures !== null;
  notSetUp.textContent = setUp(chat.name);
}

/** Try the key that the relay gives its own page now: it may have been started again. Ask the user if there is none. */
async function refuseKey() {
  const refused = http.key;
  keys.refuse(refused);
  const { key } = (await configuration().catch(() => null)) ?? { key: null };
  if (http.key !== refused) return; // another key is being tried meanwhile
  if (key && key !== refused) useKey(key);
  else keyDialog.ask(`That key was not accepted. ${WHERE_KEYS_ARE}`);
}

function useKey(key) {
  http.key = key;
  for (const each of chats.values()) {
    if (each === chat || each.connection.state !== "stopped") each.start(key);
  }
  conversations.refresh();
  day.refresh();
  pushes.start().catch(() => {}); // a wrong key, or no network, shows elsewhere
}

// --- what the user does

latest.addEventListener("click", () => follower.toEnd());

// Earlier turns go above what is being read, which stays where it is.
earlier.addEventListener("click", () => follower.growAbove(() => chat.recallEarlier()).catch(complain));

bell.addEventListener("click", () => pushes.toggle().catch(complain));

$("[data-testid=new-chat]").addEventListener("click", startAgain);

$("[data-skip]").addEventListener("click", (event) => {
  event.preventDefault(); // the address stays
  composer.element.focus();
});

$("[data-testid=help]").addEventListener("click", () => helpDialog.showModal());

$("[data-testid=help-close]").addEventListener("click", () => helpDialog.close());

$("[data-testid=theme]").addEventListener("click", () => {
  const preferred = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const root = document.documentElement.dataset;
  root.theme = (root.theme ?? preferred) === "dark" ? "light" : "dark";
  shared.setItem("theme", root.theme);
});

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || isComposing(event) || $("dialog[open], :popover-open")) return;
  if (event.key === "Escape" && chat.client.writing) chat.client.cancel();
  if (event.key === "?" && !isTyping(event.target)) helpDialog.showModal();
});

window.addEventListener("popstate", () => {
  const { agent, conversation } = address.shown() ?? {};
  if (!chats.has(agent)) return;
  openConversation(conversation, agent).catch((refusal) => {
    markConversation();
    complain(refusal);
  });
});

// --- what happens around the page

window.addEventListener("online", () => {
  for (const { client } of chats.values()) client.wake();
});

window.addEventListener("offline", () => {
  for (const { client } of chats.values()) client.loseNetwork();
});

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  chat.client.wake();
  acknowledge();
  if (chat.connection.state !== "online") return; // all of it comes with the connection
  chat.catchUp();
  conversations.refresh();
  day.refresh();
});

window.addEventListener("storage", (event) => {
  const { agent, conversation, message, isGone } = changedElsewhere(event);
  if (isGone) for (const each of chats.values()) each.droppedElsewhere(message);
  const each = chats.get(agent);
  if (each && each.client.conversation === conversation) each.draftedElsewhere();
});

// --- the beginning

function suggestionChip(text) {
  const chip = button("", text, () => {
    chat.say(text); // what is in the composer stays a draft
    follower.toEnd();
  });
  chip.dataset.testid = "suggestion";
  return chip;
}

let chat = null;
/** How often the user has chosen what is on the screen. */
let choices = 0;
const websocket = new URL(config.websocket, location.href);
websocket.protocol = websocket.protocol === "https:" ? "wss:" : "ws:";
const about = {
  url: websocket.href,
  device: pushes.device,
  http,
  keep,
  blobs,
  config,
  configure: configuration,
  screen,
};
const begin = address.shown();
const conversationOf = (agent) => (begin?.agent === agent ? begin.conversation : null);
const chats = new Map(
  config.agents.map((agent) => [agent, new Chat(agent, { ...about, conversation: conversationOf(agent) })]),
);
const agents = new AgentChoice($("[data-agents]"), [...chats.values()], choose);

$("[data-chips]").append(...SUGGESTIONS.map(suggestionChip));
rove($("[data-list]"));
keepFocus(home);
const typed = composer.content; // while the page was loading, if the browser has not put the draft back by itself
choose(chats.has(begin?.agent) ? begin.agent : config.agents[0]);
if (typed && typed !== chat.draft) chat.add(typed);
drawConfiguration(config);
const key = keys.known ?? config.key;
if (key) useKey(key);
else keyDialog.ask(WHERE_KEYS_ARE);
blobs.sweep(keep.files());
home().focus();
