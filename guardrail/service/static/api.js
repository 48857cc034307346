// The service: requests with the key, and one watched stream whose deltas are joined while one is on its way.

export class ServiceError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export class Api {
  constructor(key = "") {
    this.key = key;
  }

  get(path) {
    return this.ask("GET", path);
  }

  post(path, body) {
    return this.ask("POST", path, body);
  }

  async ask(method, path, body) {
    const headers = { ...(body && { "content-type": "application/json" }) };
    if (this.key) headers.authorization = `Bearer ${this.key}`;
    const url = new URL(path, document.baseURI);
    const answer = await fetch(url, { method, headers, body: body && JSON.stringify(body) }).catch(() => {
      throw new ServiceError("The service cannot be reached.", 0);
    });
    const said = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new ServiceError(said.error?.message ?? `The service answered ${answer.status}.`, answer.status);
    return said;
  }
}

/** An answer that is judged to its end and never released: `enforce: false`. */
export class Watched {
  constructor(api, messages, onEvents) {
    Object.assign(this, { api, messages, onEvents, text: "", sent: 0, wantsEnd: false, isOver: false, running: null });
  }

  /** Take more of the answer, as characters; `last` ends it. */
  feed(characters, last = false) {
    this.text += characters;
    this.wantsEnd ||= last;
    this.running ??= this.run().finally(() => (this.running = null));
    return this.running;
  }

  /** Give it up. */
  async close() {
    this.isOver = true;
    if (this.path) await this.api.ask("DELETE", this.path).catch(() => {});
  }

  async run() {
    if (!this.path) {
      const { id } = await this.api.post("v1/streams", { messages: this.messages, enforce: false });
      this.path = `v1/streams/${id}`;
      if (this.isOver) return this.close();
    }
    while (this.text && !this.isOver) {
      const [text, offset] = [this.text, this.sent];
      this.text = "";
      this.sent += [...text].length;
      await this.take(`${this.path}/deltas`, { text, offset });
    }
    if (this.wantsEnd && !this.isOver) await this.take(`${this.path}/finish`, { offset: this.sent });
  }

  async take(path, body) {
    const { events } = await this.api.post(path, body);
    if (this.isOver) return;
    this.isOver = events.some((event) => event.type === "closed");
    this.onEvents(events);
  }
}
