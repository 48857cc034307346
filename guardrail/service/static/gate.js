// The gate's rule, read by any policy: guardrail/policy.py and guardrail/gate.py say it in Python, and a test compares.

const ACTIONS = ["allow", "flag", "ask", "stop"];
const rank = (action) => ACTIONS.indexOf(action);
export const harder = (one, other) => (rank(other) > rank(one) ? other : one);

/** The name of the largest probability; the first wins a tie, as everywhere here. */
export const most = (probabilities) =>
  Object.entries(probabilities).reduce((best, next) => (next[1] > best[1] ? next : best))[0];

/** Probability of Controversial or Unsafe. */
export const nonSafe = (verdict) => verdict.risk_probabilities.Controversial + verdict.risk_probabilities.Unsafe;

/** The risk level of a verdict under a direction's thresholds. */
export function level(rules, verdict) {
  const { unsafe_threshold: unsafe, non_safe_threshold: least } = rules;
  if (unsafe === null && least === null) return most(verdict.risk_probabilities);
  if (verdict.risk_probabilities.Unsafe >= (unsafe ?? 0.5)) return "Unsafe";
  return nonSafe(verdict) >= (least ?? 0.5) ? "Controversial" : "Safe";
}

/** The action that one verdict asks for, before debounce. */
export function action(rules, verdict) {
  const risk = level(rules, verdict);
  if (risk === "Safe") return "allow";
  const rule = rules.categories[most(verdict.category_probabilities)] ?? {};
  if (nonSafe(verdict) < (rule.threshold ?? 0)) return "allow";
  return risk === "Unsafe" ? (rule.unsafe ?? rules.unsafe) : (rule.controversial ?? rules.controversial);
}

/** Counts consecutive tokens whose action is at least `least`. */
class Run {
  constructor(rules, least) {
    Object.assign(this, { rules, least, length: 0, start: 0, risk: "Safe" });
  }

  advance(token, risk, asked) {
    if (risk === "Safe" || rank(asked) < rank(this.least)) {
      this.length = 0;
      return null;
    }
    if (this.rules.debounce_rule === "same_level" && risk !== this.risk) this.length = 0;
    if (!this.length) this.start = token.start;
    this.length += 1;
    this.risk = risk;
    if (this.length < this.rules.debounce) return null;
    return { action: this.least, risk, category: most(token.category_probabilities), start: this.start, token };
  }
}

/** What a policy's rules make of an answer's verdicts: the gravest finding, null without one; nothing follows a stop. */
export function judge(rules, verdicts) {
  const runs = ACTIONS.map((least) => new Run(rules, least));
  let gravest = null;
  for (const token of verdicts) {
    const risk = level(rules, token);
    const asked = action(rules, token);
    for (const run of runs) {
      const found = run.advance(token, risk, asked);
      if (found && (!gravest || rank(found.action) > rank(gravest.action))) gravest = found;
    }
    if (gravest?.action === "stop") break;
  }
  return gravest;
}
