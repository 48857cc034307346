// What the page shows of verdicts: tokens, the strip of their risk, bars of one token, the table of decisions.

import { level, nonSafe } from "./gate.js";

/** Return an element; `data-*` and classes as attributes, children as text or elements. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export const percent = (share) => `${(100 * share).toFixed(share > 0.0995 && share < 0.995 ? 0 : 1)} %`;

/** The answer's tokens: coloured as the policy reads them, walked through with the arrow keys. */
export class Tokens {
  constructor(box, onLook) {
    Object.assign(this, { box, onLook, spans: [], at: -1 });
    box.addEventListener("keydown", (event) => this.onKey(event));
    for (const kind of ["pointerover", "click"]) {
      box.addEventListener(kind, (event) => {
        const index = this.spans.findIndex(({ span }) => span === event.target);
        if (index >= 0) this.look(index);
      });
    }
    box.addEventListener("focus", () => this.spans.length && this.look(Math.max(0, this.at)));
    this.waiting = make("span", { class: "waiting" });
    this.mark = make("span", { class: "mark" }, "■ stopped here");
  }

  clear() {
    this.box.replaceChildren();
    this.box.removeAttribute("aria-activedescendant");
    Object.assign(this, { spans: [], at: -1 });
  }

  /** Add verdicts; tokens that share a character share its span, under the last one's verdict. */
  add(verdicts, characters) {
    for (const verdict of verdicts) {
      const last = this.spans.at(-1);
      const start = Math.max(verdict.start, last?.end ?? 0);
      if (last && verdict.end <= last.end) {
        last.verdict = verdict;
        continue;
      }
      const text = characters.slice(start, verdict.end).join("");
      const span = make("span", { class: "token", role: "option", id: `token-${this.spans.length}` }, text);
      this.spans.push({ span, verdict, start, end: verdict.end, text });
      this.box.insertBefore(span, this.waiting.isConnected ? this.waiting : null);
    }
    this.waiting.textContent = characters.slice(this.spans.at(-1)?.end ?? 0).join("");
    this.box.append(this.waiting);
  }

  /** Colour every token by the rules, and mark where they stop the answer. */
  read(rules, stopOffset) {
    this.mark.remove();
    for (const [index, { span, verdict, start, end, text }] of this.spans.entries()) {
      const risk = level(rules, verdict);
      const isBehind = stopOffset !== null && end > stopOffset;
      if (isBehind && !this.mark.isConnected) span.before(this.mark);
      span.dataset.risk = risk;
      span.classList.toggle("behind", isBehind);
      span.classList.toggle("here", index === this.at);
      const fate = isBehind ? ", withheld" : "";
      span.setAttribute("aria-label", `${text.trim() || "space"}: ${risk} ${percent(verdict.risk_probabilities[risk])}${fate}`);
      span.setAttribute("aria-selected", String(index === this.at));
      span.title = `${risk} ${percent(verdict.risk_probabilities[risk])} · characters ${start} to ${end}`;
    }
  }

  look(index) {
    this.spans[this.at]?.span.classList.remove("here");
    this.spans[this.at]?.span.setAttribute("aria-selected", "false");
    this.at = index;
    const { span } = this.spans[index];
    span.classList.add("here");
    span.setAttribute("aria-selected", "true");
    this.box.setAttribute("aria-activedescendant", span.id);
    this.onLook(this.spans[index]);
  }

  onKey(event) {
    const last = this.spans.length - 1;
    const step = { ArrowRight: 1, ArrowDown: 10, ArrowLeft: -1, ArrowUp: -10, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined || last < 0 || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.look(Math.min(last, Math.max(0, this.at + step)));
    this.spans[this.at].span.scrollIntoView({ block: "nearest" });
  }
}

/** Draw the risk of every token, and a line where the answer is stopped. */
export function drawStrip(svg, spans, rules, stopOffset) {
  svg.setAttribute("viewBox", `0 0 ${Math.max(60, spans.length)} 100`);
  const draw = (attributes) => {
    const rect = document.createElementNS(svg.namespaceURI, "rect");
    for (const [name, value] of Object.entries(attributes)) rect.setAttribute(name, value);
    return rect;
  };
  const isBehind = ({ end }) => stopOffset !== null && end > stopOffset;
  const bars = spans.map((one, x) => {
    const height = 4 + 96 * nonSafe(one.verdict);
    const kind = { "data-risk": level(rules, one.verdict), class: isBehind(one) ? "behind" : "" };
    return draw({ x, y: 100 - height, width: 0.86, height, ...kind });
  });
  const stopped = spans.findIndex(isBehind);
  if (stopped >= 0) bars.push(draw({ x: stopped - 0.12, y: 0, width: 0.16, height: 100, class: "stop" }));
  svg.replaceChildren(...bars);
}

/** Show probabilities as bars with numbers, in the order they come, or the largest first. */
export function showBars(list, probabilities, { byRisk = false } = {}) {
  const entries = Object.entries(probabilities);
  if (!byRisk) entries.sort((one, other) => other[1] - one[1]);
  const top = Math.max(...entries.map(([, share]) => share));
  list.replaceChildren(
    ...entries.map(([name, share]) => {
      const bar = make("div", { class: share === top ? "bar top-one" : "bar", ...(byRisk && { "data-risk": name }) });
      const line = make("i", { "aria-hidden": "true" });
      line.style.setProperty("--share", share);
      bar.append(make("dt", {}, name), make("dd", {}, percent(share)), line);
      return bar;
    }),
  );
}

/** Show the latest decisions, newest first. */
export function showDecisions(body, records) {
  const row = (record) => {
    const done = record.would_action === record.action ? record.action : `would ${record.would_action}`;
    const pill = make("span", { class: "pill", "data-action": record.would_action }, done);
    const numbers = [record.stop_offset ?? "–", record.n_tokens, record.latency_ms.toFixed(1)];
    const reason = record.failure?.kind ?? (record.reason === "abandoned" ? "abandoned" : "–");
    return make("tr", {},
      make("td", {}, new Date(record.time).toLocaleTimeString()), make("td", {}, record.direction.replace("_", " ")),
      make("td", {}, pill), make("td", {}, record.risk ?? reason), make("td", {}, record.category ?? "–"),
      make("td", {}, record.policy), ...numbers.map((number) => make("td", { class: "number" }, String(number))));
  };
  const none = make("tr", {}, make("td", { colspan: "9", class: "note" }, "None yet."));
  body.replaceChildren(...(records.length ? records.map(row) : [none]));
}
