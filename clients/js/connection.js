/**
 * One connection to the server, over as many sockets as that takes, one at a time.
 *
 *                        socket opens: `hello`         `auth`, or `expired`
 *    start() ┌────────────┐    then `ready`    ┌────────┐    then `ready`   ┌──────────┐
 *   ────────►│ connecting ├───────────────────►│ online │◄─────────────────►│ renewing │
 *            └──▲──────┬──┘                    └───┬────┘                   └────┬─────┘
 *               │      │ refused, closed, silent   │ closed, no `pong`,          │ closed, silent
 *     time over,│      ▼                           │ 2 hours nearly over         │
 *     or sooner │   ┌──────────────┐               │                             │
 *     by wake() └───┤ reconnecting │◄──────────────┴─────────────────────────────┘
 *                   │  (offline)   │      ┌──────────┐
 *                   └──────────────┘      │ rejected │ the key is wrong, or has run out: only start(key) leaves it
 *                                         └──────────┘
 *
 * `offline` is `reconnecting` on a device that says it has no network. `stopped` is before start and after stop.
 * `renewing` is the same socket by another key: nothing is said meanwhile, and all is taken up after that.
 *
 * What frames mean is not known here, but for `pong`. Whoever heeds the frames says when the server is ready.
 */

const HANDSHAKE_MS = 10_000;
const PONG_MS = 10_000;
const HEARTBEAT_S = 480;
/** While a reply is awaited, a dead socket must not go unnoticed for longer. */
const WATCHFUL_MS = 30_000;
// API Gateway closes every connection after 2 hours. A reply that is being written may use up the difference.
const RENEW_MS = 115 * 60_000;
const LIFETIME_MS = 119 * 60_000;
const RENEW_AGAIN_MS = 5_000;
/** A key is renewed that long before it runs out, or when half of its time is over. */
const EARLY_MS = 30_000;

/** Exponential, never in step with other clients: between half and all of 0.5 s, 1 s, 2 s, … 30 s. */
export function backoff(attempt, random = Math.random()) {
  return Math.min(30_000, 500 * 2 ** attempt) * (0.5 + random / 2);
}

/** Base64url without padding: a subprotocol's name may not contain `+`, `/` or `=`. */
export function base64url(text) {
  const binary = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

export class Connection {
  state = "stopped";

  #url;
  #does;
  #key = null;
  #socket = null;
  #timers = new Map();
  #attempt = 0;
  #heartbeatMs = HEARTBEAT_S * 1000;
  #pingedAt = null;
  #connectedAt = 0;
  #isAskedForKey = false;

  /**
   * @param {string} url of the WebSocket
   * @param {object} does
   * @param {() => object} does.hello the frame to begin with
   * @param {(frame: object | null, text: string) => void} does.heed told every frame but `pong`; null if the text is
   *   no JSON
   * @param {() => boolean} does.isAwaited whether a reply is awaited, so that the socket is watched more closely
   * @param {(key: string) => Promise<boolean>} does.isRejected asked when a socket would not open
   * @param {() => Promise<string | null>} does.renew asked for another key when the one that there is runs out; null
   *   if there is none, so that the user has to sign in. Where it fails, the network perhaps, it is asked again
   * @param {(type: string, detail: object) => void} does.emit told `state`, `frame` and `lag`
   */
  constructor(url, does) {
    this.#url = url;
    this.#does = does;
  }

  start(key) {
    this.#key = key;
    this.#attempt = 0;
    this.#connect();
  }

  stop() {
    this.#hangUp();
    this.#become("stopped");
  }

  /** The server does not take the key. */
  reject() {
    this.#hangUp();
    this.#become("rejected");
  }

  /** The network or the user is back: waiting any longer is of no use, nor is trusting an old socket. */
  wake() {
    if (this.state === "reconnecting" || this.state === "offline") this.#connect();
    else if (this.state === "online") this.ping();
  }

  /** The device says that it has no network: nothing more comes over this socket. */
  loseNetwork() {
    if (this.#socket) this.#lost();
  }

  /** The socket that is open or opening; null without one. Whoever has awaited something compares it. */
  get socket() {
    return this.#socket;
  }

  transmit(frame) {
    const text = JSON.stringify(frame);
    this.#socket.send(text);
    this.#does.emit("frame", { direction: "out", frame, text });
  }

  hello() {
    this.transmit(this.#does.hello());
  }

  /** The server has answered `hello`, and wants to hear a `ping` that often. */
  ready(heartbeatS) {
    this.#attempt = 0;
    this.#heartbeatMs = (heartbeatS ?? HEARTBEAT_S) * 1000;
    this.clear("handshake");
    this.#become("online");
    this.ping();
    this.after("renew", RENEW_MS - (performance.now() - this.#connectedAt), () => this.#renew());
  }

  /** The server takes the key for so long: ask for another one a little before. */
  renewWithin(ms) {
    const waitMs = Math.max(ms - EARLY_MS, ms / 2);
    if (waitMs < LIFETIME_MS) this.after("key", waitMs, () => this.#renewKey());
    else this.clear("key");
  }

  /** The key has run out, and the server did not do what it was asked. It is `ready` again by another key. */
  expire() {
    if (this.state === "renewing") return;
    this.clear("handshake"); // the user may have to sign in
    this.#become("renewing");
    this.#renewKey();
  }

  /** Find out whether the socket is alive. */
  ping() {
    if (this.#pingedAt !== null) return;
    this.#pingedAt = performance.now();
    this.transmit({ action: "ping" });
    this.after("pong", PONG_MS, () => this.#lost());
  }

  /** Call `act` after so long, unless this socket is lost before. The same name again starts anew. */
  after(name, ms, act) {
    this.clear(name);
    this.#timers.set(name, setTimeout(act, ms));
  }

  clear(name) {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }

  #connect() {
    this.#hangUp();
    this.#become("connecting");
    this.#connectedAt = performance.now();
    const protocols = ["chatrelay.v1", `bearer.${base64url(this.#key)}`];
    const socket = new WebSocket(this.#url, protocols);
    this.#socket = socket;
    // A socket that was hung up may still report; nobody listens to it then.
    const listen = (type, heed) => socket.addEventListener(type, (event) => socket === this.#socket && heed(event));
    listen("open", () => this.hello());
    listen("message", (event) => this.#receive(event.data));
    listen("close", (event) => this.#lost(event.code));
    this.after("handshake", HANDSHAKE_MS, () => this.#lost());
  }

  #hangUp() {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#pingedAt = null;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  async #lost(code) {
    const neverOpened = this.state === "connecting" && code !== undefined;
    this.#hangUp();
    const delay = backoff(this.#attempt);
    this.#attempt += 1;
    const offline = globalThis.navigator?.onLine === false;
    this.#become(offline ? "offline" : "reconnecting", Date.now() + delay);
    this.after("reconnect", delay, () => this.#connect());
    // Browsers do not tell scripts why a socket would not open.
    const key = this.#key;
    const isRejected = neverOpened && (await this.#does.isRejected(key));
    if (isRejected && key === this.#key && this.state !== "online") this.reject();
  }

  #become(state, retryAt = null) {
    this.state = state;
    this.#does.emit("state", { state, retryAt });
  }

  #receive(text) {
    const frame = parse(text);
    this.#does.emit("frame", { direction: "in", frame, text });
    if (frame?.type === "pong") this.#pong();
    else this.#does.heed(frame, text);
  }

  #pong() {
    if (this.#pingedAt === null) return;
    this.clear("pong");
    this.#does.emit("lag", { ms: performance.now() - this.#pingedAt });
    this.#pingedAt = null;
    this.after("ping", WATCHFUL_MS, () => this.#beat(WATCHFUL_MS));
  }

  /** The server's heartbeat is for clients that await nothing. `quietMs` is how long ago the last `pong` came. */
  #beat(quietMs) {
    if (this.#does.isAwaited() || quietMs >= this.#heartbeatMs) this.ping();
    else this.after("ping", WATCHFUL_MS, () => this.#beat(quietMs + WATCHFUL_MS));
  }

  /** Go on by another key, over the same socket if it is still there. */
  async #renewKey() {
    if (this.#isAskedForKey) return;
    const [before, socket] = [this.#key, this.#socket];
    this.#isAskedForKey = true;
    const key = await this.#does.renew().catch(() => undefined);
    this.#isAskedForKey = false;
    if (before !== this.#key || this.state === "stopped") return;
    if (key === undefined) return this.after("key", RENEW_AGAIN_MS, () => this.#renewKey());
    if (key === null) return this.reject();
    if (socket !== this.#socket) return this.start(key);
    this.#key = key;
    this.#become("renewing");
    this.transmit({ action: "auth", token: key });
    this.after("handshake", HANDSHAKE_MS, () => this.#lost());
  }

  #renew() {
    const isOld = performance.now() - this.#connectedAt > LIFETIME_MS;
    if (this.#does.isAwaited() && !isOld) this.after("renew", RENEW_AGAIN_MS, () => this.#renew());
    else this.#connect();
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
