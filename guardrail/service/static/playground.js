// The page: takes a prompt and an answer, sends the answer as an LLM would, and shows what the guard thinks of it.

import { Api, Watched } from "./api.js";
import { action, judge, level, most } from "./gate.js";
import { Tokens, drawStrip, make, percent, showBars, showDecisions } from "./view.js";

const EXAMPLES = [
  ["An answer that turns abusive", "What do the fans say about the game?",
    "Most say it was fair and close to the end. One of them says the referee is a fucking idiot and a stupid bitch, and that everybody hates him. The others went home happy."],
  ["A harmless answer", "How do I bake bread?",
    "Mix flour, water, salt and yeast. Let the dough rise for a day in a cool place, fold it twice, then bake it hot in a covered pot until the crust is dark."],
  ["Your own", "", ""],
];

const at = (id) => document.getElementById(id);
const api = new Api(sessionStorage.getItem("guardrail-key") ?? "");
const tokens = new Tokens(at("tokens"), look);
const state = { policies: [], policy: null, characters: [], verdicts: [], prompt: null, watched: null, timer: 0, phase: "idle" };

// The stream

function clear() {
  clearInterval(state.timer);
  state.watched?.close();
  Object.assign(state, { watched: null, characters: [], verdicts: [], prompt: null, phase: "idle" });
  tokens.clear();
  at("prompt-verdict").textContent = "";
}

function begin() {
  clear();
  state.phase = "reading";
  const content = at("prompt").value;
  const watched = new Watched(api, content ? [{ role: "user", content }] : [], (events) => take(watched, events));
  state.watched = watched;
  at("end").disabled = false;
  if (content) judgePrompt(content);
  show();
  return watched;
}

function watch() {
  const pieces = at("answer").value.match(/\s?[^\s]{1,7}|\s+/gu) ?? [];
  const watched = begin();
  const speed = Math.min(500, Math.max(1, Number(at("speed").value) || 20));
  const started = performance.now();
  let next = 0;
  state.timer = setInterval(() => {
    const due = Math.min(pieces.length, 1 + Math.floor(((performance.now() - started) * speed) / 1000));
    send(watched, pieces.slice(next, due).join(""), due === pieces.length);
    next = due;
    if (due === pieces.length) clearInterval(state.timer);
  }, Math.max(16, 1000 / speed));
}

/** Live: what was typed behind what was sent is sent; an answer that was changed before begins anew. */
function type() {
  const typed = at("answer").value;
  const known = state.characters.join("");
  const goesOn = state.watched && state.phase === "reading" && typed.startsWith(known) && state.watched.live;
  const watched = goesOn ? state.watched : Object.assign(begin(), { live: true });
  const text = goesOn ? typed.slice(known.length) : typed;
  if (text) send(watched, text, false);
}

function send(watched, text, isLast) {
  if (watched !== state.watched) return;
  state.characters.push(...text);
  tokens.add([], state.characters);
  watched.feed(text, isLast).catch((error) => fail(watched, error));
}

function take(watched, events) {
  if (watched !== state.watched) return;
  const verdicts = events.filter((event) => event.type === "verdict");
  state.verdicts.push(...verdicts);
  tokens.add(verdicts, state.characters);
  const decision = events.find((event) => event.type === "decision");
  if (decision) {
    state.phase = decision.record.failure ? "failed" : "ended";
    state.failure = decision.record.failure;
    at("end").disabled = true;
    refresh();
  }
  show();
  if (verdicts.length && document.activeElement !== at("tokens")) tokens.look(tokens.spans.length - 1);
}

function end() {
  clearInterval(state.timer);
  at("end").disabled = true;
  if (state.watched?.live) return state.watched.feed("", true).catch((error) => fail(state.watched, error));
  state.phase = "broken off";
  state.watched?.close().then(refresh);
  show();
}

function fail(watched, error) {
  if (watched !== state.watched) return;
  clearInterval(state.timer);
  watched.isOver = true;
  Object.assign(state, { phase: "failed", failure: { message: error.message } });
  at("end").disabled = true;
  show();
}

async function judgePrompt(content) {
  const watched = state.watched;
  const body = { messages: [{ role: "user", content }] };
  const { results } = await api.post("v1/moderations", body).catch(() => ({ results: [] }));
  if (watched !== state.watched || !results.length) return;
  state.prompt = results[0].guardrail;
  show();
}

// What is shown

function show() {
  if (!state.policy) return;
  const rules = state.policy.response;
  const finding = judge(rules, state.verdicts);
  const stop = finding?.action === "stop" ? finding.start : null;
  tokens.read(rules, stop);
  drawStrip(at("strip"), tokens.spans, rules, stop);
  showBanner(finding, stop);
  if (state.prompt?.risk_probabilities) showPrompt(state.prompt, state.policy.prompt);
}

function showBanner(finding, stop) {
  const named = `${state.policy.name}${state.policy.enforce ? "" : " (not enforced)"}`;
  const total = state.characters.length;
  const places = {
    idle: ["idle", "Nothing watched yet.", "Choose an example, or write, then press Watch."],
    failed: ["error", "Not judged.", state.failure?.message ?? "The service failed."],
    reading: ["reading", "Reading…", `nothing stops this answer so far under ${named}.`],
    ended: ["clear", "Clear.", `${named} lets all ${total} characters pass.`],
    "broken off": ["idle", "Broken off.", `${state.verdicts.length} tokens were judged.`],
  };
  let [kind, title, text] = places[state.phase];
  if (state.phase !== "failed" && finding && finding.action !== "allow") {
    kind = finding.action;
    title = stop === null ? "Marked." : `Stopped at character ${stop}.`;
    const share = percent(finding.token.risk_probabilities[finding.risk]);
    const why = `${finding.risk} (${share}) · ${finding.category}, under ${named}`;
    // The number changes with every piece, and screen readers say each change: it is told at the end.
    const isWhole = stop !== null && state.phase !== "reading";
    text = isWhole ? `${why}: ${total - stop} of ${total} characters are withheld.` : `${why}.`;
  }
  const banner = at("banner");
  if (banner.dataset.kind === kind && banner.textContent === `${title} ${text}`) return;
  banner.dataset.kind = kind;
  banner.replaceChildren(make("strong", {}, title), " ", make("span", {}, text));
}

function showPrompt(record, rules) {
  const risk = level(rules, record);
  const named = risk === "Safe" ? "" : ` · ${most(record.category_probabilities)}`;
  at("prompt-verdict").replaceChildren(
    "The prompt: ", make("strong", {}, risk + named), ` ${percent(record.risk_probabilities[risk])}, `,
    make("span", { class: "pill", "data-action": action(rules, record) }, action(rules, record)));
}

function look({ verdict, text, start, end }) {
  at("look-token").textContent = JSON.stringify(text);
  at("look-place").textContent = `Token ${verdict.index + 1}, characters ${start} to ${end} of the answer.`;
  showBars(at("risk-bars"), verdict.risk_probabilities, { byRisk: true });
  showBars(at("category-bars"), verdict.category_probabilities);
}

async function refresh() {
  const { data } = await api.get("v1/decisions?limit=20").catch(() => ({ data: [] }));
  showDecisions(at("decisions"), data);
}

// The page

function choosePolicy(policy) {
  state.policy = policy;
  show();
}

async function connect() {
  const [version, policies] = await Promise.all([api.get("version"), api.get("v1/policies")]);
  at("runs").textContent = `${version.model} · ${version.engine} ${version.precision} · ${version.version}`;
  const order = ["strict", "balanced", "loose"];
  const own = policies.data[0];
  state.policies = [...order.map((name) => policies.data.find((one) => one.name === name)), ...(order.includes(own.name) ? [] : [own])];
  at("policies").replaceChildren(at("policies").firstElementChild, ...state.policies.map((policy) => {
    const radio = make("input", { type: "radio", name: "policy", value: policy.name });
    radio.checked = policy.name === own.name;
    radio.addEventListener("change", () => choosePolicy(policy));
    return make("label", {}, radio, make("span", {}, policy.name));
  }));
  choosePolicy(own);
  await refresh();
}

function reconnect() {
  connect().catch((error) => {
    Object.assign(at("banner").dataset, { kind: "error" });
    const told = error.status === 401 ? "Give an API key, above: it stays in this tab." : error.message;
    at("banner").replaceChildren(make("strong", {}, "Not connected."), " ", make("span", {}, told));
  });
}

const THEMES = { auto: "Auto", light: "Light", dark: "Dark" };

function theme(name) {
  document.documentElement.dataset.theme = name;
  at("theme").textContent = THEMES[name];
  at("theme").setAttribute("aria-label", `Colours: ${name === "auto" ? "as the system" : name}`);
  at("theme").value = name;
}

function start() {
  at("example").append(...EXAMPLES.map(([name], index) => make("option", { value: index }, name)));
  const fill = () => ([, at("prompt").value, at("answer").value] = EXAMPLES[at("example").value]);
  fill();
  at("example").addEventListener("change", fill);
  at("key").value = api.key;
  at("connect").addEventListener("submit", (event) => {
    event.preventDefault();
    at("key").blur();
  });
  at("key").addEventListener("change", () => {
    api.key = at("key").value.trim();
    sessionStorage.setItem("guardrail-key", api.key);
    reconnect();
  });
  at("watch").addEventListener("click", () => (isLive() ? type() : watch()));
  at("end").addEventListener("click", end);
  at("refresh").addEventListener("click", refresh);
  at("answer").addEventListener("input", () => isLive() && type());
  addEventListener("keydown", (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && at("watch").click());
  at("theme").addEventListener("click", () => {
    const names = Object.keys(THEMES);
    theme(names[(names.indexOf(at("theme").value) + 1) % names.length]);
  });
  theme("auto");
  reconnect();
}

const isLive = () => document.querySelector('input[name="how"]:checked').value === "live";

start();
