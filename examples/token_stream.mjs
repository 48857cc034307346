// An LLM's answer guarded by a service, in plain JavaScript: for node 20 and up, and for browsers.
// Run: node token_stream.mjs http://127.0.0.1:8000 [key]

/** A stream: `feed` and `finish` return the text that may be shown; what fails throws, and nothing more is shown. */
export class GuardedStream {
  constructor(url, key) {
    this.url = `${url}/v1/streams`;
    this.headers = { "content-type": "application/json", ...(key && { authorization: `Bearer ${key}` }) };
    this.sent = 0; // characters: code points, not JavaScript's 16-bit units
    this.stop = this.decision = null;
  }

  async post(path, body) {
    const request = { method: "POST", headers: this.headers, body: JSON.stringify(body) };
    const send = () => fetch(this.url + path, request);
    const answer = await send().catch(send); // once more: offsets keep a delta from being read twice
    const said = await answer.json();
    if (!answer.ok) throw new Error(said.error.message);
    for (const event of said.events ?? []) {
      if (event.type === "stop") this.stop = event;
      if (event.type === "decision") this.decision = event.record;
    }
    return said;
  }

  async open(messages) {
    this.path = `/${(await this.post("", { messages, verdicts: false })).id}`;
    return this;
  }

  async feed(text) {
    const offset = this.sent;
    this.sent += [...text].length;
    return released(await this.post(`${this.path}/deltas`, { text, offset }));
  }

  async finish() {
    return released(await this.post(`${this.path}/finish`, { offset: this.sent }));
  }
}

const released = ({ events }) => events.map((event) => (event.type === "release" ? event.text : "")).join("");

if (typeof process !== "undefined" && import.meta.url.endsWith(process.argv[1]?.split("/").pop())) {
  const stream = await new GuardedStream(process.argv[2], process.argv[3]).open("What do the fans say about the game?");
  const answer = "Most say it was fair. One says the referee is a fucking idiot and a stupid bitch 😀, and so on.";
  for (const word of answer.split(/(?<= )/)) {
    process.stdout.write(await stream.feed(word));
    if (stream.stop) break; // close the LLM's request here
  }
  process.stdout.write(await stream.finish());
  console.log(`\n${stream.decision.action} at ${stream.decision.stop_offset}: ${stream.decision.category}`);
}
