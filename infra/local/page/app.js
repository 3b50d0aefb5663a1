/** The page: one chat an agent, each with a socket of its own, of which one is on the screen. */

import { ChatRelayClient } from "./client.js";
import { Follower } from "./scroll.js";
import { FrameList, TimingView } from "./timeline.js";
import { Transcript } from "./transcript.js";

const NAMES = { claude: "Claude", codex: "Codex" };
const CONTENT_BYTES = 300_000;
const COUNTER_FROM_BYTES = 280_000;
const SUGGESTIONS = [
  "Show me something in a table",
  "Write a little Python code",
  "Tell me a long story",
];

const $ = (selector) => document.querySelector(selector);
const pill = $("[data-testid=connection]");
const composer = $("[data-testid=composer]");
const send = $("[data-testid=send]");
const stop = $("[data-testid=stop]");
const counter = $("[data-testid=counter]");
const complaint = $("[data-testid=complaint]");
const latest = $("[data-testid=latest]");
const keyDialog = $("[data-testid=key-dialog]");

const follower = new Follower($("[data-scroll]"), (following) => (latest.hidden = following));
const timings = new TimingView($("[data-timings]"));
const frames = new FrameList($("[data-frames]"), $("[data-frame-count]"));
const config = await (await fetch("/page/config.json")).json();

// --- chats

class Chat {
  latest = null;
  lag = null;
  connection = { state: "stopped", retryAt: null };
  draft = "";

  constructor(agent) {
    this.agent = agent;
    this.name = NAMES[agent] ?? agent;
    const [conversation, isResumed] = storedConversation(agent);
    this.isResumed = isResumed;
    this.client = new ChatRelayClient({ url: websocketUrl(), agent, conversation, isRejected, upload });
    this.transcript = new Transcript(
      agent,
      (id) => this.client.retry(id),
      () => this === chat && drawChat(),
    );
    this.client.addEventListener("state", ({ detail }) => this.#connected(detail));
    this.client.addEventListener("exchange", ({ detail }) => this.#exchanged(detail));
    this.client.addEventListener("notice", ({ detail }) => this.transcript.notice(detail));
    this.client.addEventListener("frame", ({ detail }) => frames.add(detail));
    this.client.addEventListener("lag", ({ detail }) => this.#lagged(detail));
  }

  startAgain() {
    const conversation = newConversation(this.agent);
    this.transcript.clear();
    this.latest = null;
    this.isResumed = false;
    this.client.converse(conversation);
  }

  #connected(connection) {
    this.connection = connection;
    if (connection.state === "rejected") askForKey("That key was not accepted. Is there another?");
    if (this === chat) drawConnection();
  }

  #exchanged(exchange) {
    this.latest = exchange;
    this.transcript.show(exchange);
    announce(this, exchange);
    if (this === chat) drawButtons();
  }

  #lagged({ ms }) {
    this.lag = ms;
    if (this === chat) drawLag();
  }
}

function storedConversation(agent) {
  const known = sessionStorage.getItem(`conversation.${agent}`);
  return known ? [known, true] : [newConversation(agent), false];
}

function newConversation(agent) {
  const bytes = crypto.getRandomValues(new Uint8Array(9));
  const conversation = `page-${btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_")}`;
  sessionStorage.setItem(`conversation.${agent}`, conversation);
  return conversation;
}

function websocketUrl() {
  const url = new URL(config.websocket, location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

async function isRejected(key) {
  try {
    const answer = await fetch("/api/status", { headers: { "X-API-Key": key } });
    return answer.status === 401 || answer.status === 403;
  } catch {
    return false; // no network: that is no judgement of the key
  }
}

// --- the screen

function drawChat() {
  const empty = chat.transcript.isEmpty;
  $("[data-testid=empty]").hidden = !empty;
  $("[data-empty-note]").textContent = chat.isResumed
    ? "You are back in your conversation. What was said is kept on the server, though not shown here."
    : "Your message goes out over a WebSocket, and the reply comes back while it is written.";
  timings.show(chat.latest);
  follower.grown();
}

function drawConnection() {
  const { state, retryAt } = chat.connection;
  const seconds = retryAt ? Math.max(0, Math.ceil((retryAt - Date.now()) / 1000)) : 0;
  const texts = {
    stopped: "Not connected",
    connecting: "Connecting",
    online: "Online",
    reconnecting: seconds ? `Reconnecting in ${seconds} s` : "Reconnecting",
    offline: "Offline",
    rejected: "Key needed",
  };
  pill.dataset.state = state;
  pill.lastChild.textContent = texts[state];
  if (state === "reconnecting" && seconds) setTimeout(() => drawConnection(), 250);
}

function drawLag() {
  $("[data-testid=lag]").textContent = chat.lag === null ? "–" : `${chat.lag.toFixed(chat.lag < 10 ? 1 : 0)} ms`;
}

function announce({ name }, { status, error }) {
  const news = {
    typing: `${name} is typing`,
    complete: `${name}'s reply is complete`,
    failed: error?.content,
  }[status];
  const place = $("[data-announcement]");
  if (news && place.textContent !== news) place.textContent = news;
}

function switchTo(agent) {
  if (chat) chat.draft = composer.value;
  chat = chats.get(agent);
  document.documentElement.dataset.agent = agent;
  for (const button of $("[data-agents]").children) {
    button.setAttribute("aria-checked", String(button.dataset.agent === agent));
    button.tabIndex = button.dataset.agent === agent ? 0 : -1;
  }
  $("[data-transcript]").replaceChildren(chat.transcript.element);
  composer.value = chat.draft;
  composer.placeholder = `Message ${chat.name}`;
  if (chat.connection.state === "stopped" && key) chat.client.start(key);
  fitComposer();
  drawChat();
  drawConnection();
  drawLag();
  follower.toEnd();
}

// --- writing

function fitComposer() {
  composer.style.height = "auto";
  composer.style.height = `${composer.scrollHeight}px`;
  follower.resized();
  const content = composer.value.trim();
  drawButtons();
  complaint.hidden = true;
  // Counting bytes of every draft on every key press is wasteful: no UTF-16 unit takes more than 3 in UTF-8.
  const size = content.length * 3 < COUNTER_FROM_BYTES ? 0 : utf8Bytes(content);
  counter.hidden = size < COUNTER_FROM_BYTES;
  counter.textContent = `${kilobytes(size)} of ${kilobytes(CONTENT_BYTES)} KB`;
  counter.dataset.over = String(size > CONTENT_BYTES);
}

/** One place, two buttons: while a reply is being written and nothing is in the composer, it can be stopped. */
function drawButtons() {
  const drafted = composer.value.trim() !== "";
  stop.hidden = drafted || !chat.client.writing;
  send.hidden = !stop.hidden;
  send.disabled = !drafted;
}

function sendDraft() {
  const content = composer.value.trim();
  if (!content) return;
  const size = utf8Bytes(content);
  if (size > CONTENT_BYTES) return complainOfSize(size);
  composer.value = "";
  fitComposer();
  chat.client.send(content);
  follower.toEnd();
}

function complainOfSize(size) {
  complaint.textContent = `This message has ${kilobytes(size)} KB, of at most ${kilobytes(CONTENT_BYTES)}. Please divide it.`;
  complaint.hidden = false;
}

function utf8Bytes(text) {
  return new TextEncoder().encode(text).length;
}

function kilobytes(size) {
  return (size / 1000).toFixed(1);
}

/** A message that is longer than a frame may be goes by HTTP; its reply comes over the socket all the same. */
async function upload({ conversation, ...frame }) {
  const path = `/api/conversations/${encodeURIComponent(conversation)}/messages`;
  const headers = { "Content-Type": "application/json", "X-API-Key": key };
  try {
    const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(frame) });
    if (answer.ok) return null;
    const { error, code } = await answer.json();
    return { content: error, code, retryable: answer.status >= 500 };
  } catch {
    return { content: "The message did not get through.", code: "unanswered", retryable: true };
  }
}

// --- the key

function askForKey(note) {
  $("[data-key-note]").textContent = note;
  if (!keyDialog.open) keyDialog.showModal();
}

function useKey(given) {
  key = given;
  for (const each of chats.values()) {
    if (each === chat || each.connection.state !== "stopped") each.client.start(key);
  }
}

// --- what the user does

$("[data-composer]").addEventListener("submit", (event) => {
  event.preventDefault();
  sendDraft();
});

composer.addEventListener("keydown", (event) => {
  // Enter also ends the choice of a character in Chinese, Japanese or Korean; then it is not meant for us.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  sendDraft();
});

composer.addEventListener("input", fitComposer);

stop.addEventListener("click", () => chat.client.cancel());

latest.addEventListener("click", () => follower.toEnd());

$("[data-testid=new-chat]").addEventListener("click", () => {
  chat.startAgain();
  drawChat();
  follower.toEnd();
  composer.focus();
});

$("[data-testid=theme]").addEventListener("click", () => {
  const preferred = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const root = document.documentElement.dataset;
  root.theme = (root.theme ?? preferred) === "dark" ? "light" : "dark";
  localStorage.setItem("theme", root.theme);
});

$("[data-key-form]").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = event.target.elements.key.value.trim();
  sessionStorage.setItem("key", given);
  keyDialog.close();
  useKey(given);
});

$("[data-agents]").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  const agents = [...chats.keys()];
  const next = agents[(agents.indexOf(chat.agent) + step + agents.length) % agents.length];
  switchTo(next);
  $(`[data-agents] [data-agent=${next}]`).focus();
});

window.addEventListener("online", () => chat.client.wake());
document.addEventListener("visibilitychange", () => document.hidden || chat.client.wake());

function agentButton(agent) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.agent = agent;
  button.dataset.testid = `agent-${agent}`;
  button.setAttribute("role", "radio");
  button.textContent = NAMES[agent] ?? agent;
  button.addEventListener("click", () => switchTo(agent));
  return button;
}

function suggestionChip(text) {
  const chip = document.createElement("button");
  chip.type = "button";
  chip.dataset.testid = "suggestion";
  chip.textContent = text;
  chip.addEventListener("click", () => {
    composer.value = text;
    sendDraft();
  });
  return chip;
}

let key = sessionStorage.getItem("key") ?? config.key;
let chat = null;
const chats = new Map(config.agents.map((agent) => [agent, new Chat(agent)]));

$("[data-testid=demonstration]").hidden = !config.demonstration;
$("[data-agents]").append(...config.agents.map(agentButton));
$("[data-chips]").append(...SUGGESTIONS.map(suggestionChip));
switchTo(config.agents[0]);
if (!key) askForKey("The gateway prints one when it starts. It stays in this tab.");
composer.focus();
