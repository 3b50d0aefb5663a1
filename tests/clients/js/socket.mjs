/** A socket in whose server's place the test speaks. */
export class Socket extends EventTarget {
  static opened = [];
  sent = [];

  constructor(url, protocols) {
    super();
    Object.assign(this, { url, protocols });
    Socket.opened.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {}

  happen(type, fields = {}) {
    this.dispatchEvent(Object.assign(new Event(type), fields));
  }

  says(frame) {
    this.happen("message", { data: JSON.stringify(frame) });
  }

  /** What was sent, but for hello and ping. */
  get messages() {
    return this.sent.filter(({ action }) => action !== "hello" && action !== "ping");
  }
}
