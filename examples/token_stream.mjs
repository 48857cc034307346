// An LLM's answer guarded by a service, in plain JavaScript, for node 20 and browsers: node token_stream.mjs URL [key]
/** A stream: `feed` and `finish` return the text that may be shown; what fails throws, and nothing more is shown. */
export class GuardedStream {
  sent = 0; // characters: code points, not JavaScript's 16-bit units
  constructor(url, key) {
    this.url = `${url}/v1/streams`;
    this.headers = { "content-type": "application/json", ...(key && { authorization: `Bearer ${key}` }) };
  }

  async post(path, body) {
    const send = () => fetch(this.url + path, { method: "POST", headers: this.headers, body: JSON.stringify(body) });
    const answer = await send().catch(send); // once more: offsets keep a delta from being read twice
    const { error, id, events = [] } = await answer.json();
    if (!answer.ok) throw new Error(error.message);
    this.id ??= id;
    this.stop ??= events.find((event) => event.type === "stop");
    this.decision ??= events.find((event) => event.type === "decision")?.record;
    return events.map((event) => (event.type === "release" ? event.text : "")).join("");
  }

  open = (messages) => this.post("", { messages, verdicts: false });
  finish = () => this.post(`/${this.id}/finish`, { offset: this.sent });
  feed = (text) => {
    const offset = this.sent;
    this.sent += [...text].length;
    return this.post(`/${this.id}/deltas`, { text, offset });
  };
}

if (typeof process !== "undefined" && import.meta.url.endsWith(process.argv[1]?.split("/").pop())) {
  const stream = new GuardedStream(process.argv[2], process.argv[3]);
  await stream.open("What do the fans say about the game?");
  const answer = "Most say it was fair. One says the referee is a fucking idiot and a stupid bitch 😀, and so on.";
  for (const word of answer.split(/(?<= )/)) {
    process.stdout.write(await stream.feed(word));
    if (stream.stop) break; // close the LLM's request here
  }
  const rest = await stream.finish();
  console.log(`${rest}\n${stream.decision.action} at ${stream.decision.stop_offset}: ${stream.decision.category}`);
}
