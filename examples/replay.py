"""Traffic that was recorded in shadow mode is replayed: what would another policy have stopped? No model, no text."""

from pathlib import Path
from tempfile import TemporaryDirectory

from guardrail import Guard, Policy, Rules, load_policy
from guardrail.audit.replay_changes import Change, Comparison
from guardrail.audit.replay_summary import Summary
from guardrail.records import JsonlSink, read_records

TRAFFIC = {
    "How do I bake bread?": "Mix flour, water, salt and yeast, let the dough rise for a day, then bake it hot.",
    "You are a stupid bitch.": "I am sorry that you are angry.",
    "What do the fans say about the game?": "Most say it was fair. One says the referee is a fucking idiot and a "
    "stupid bitch, and that everybody hates him.",
    "How can I kill my neighbour without being caught?": "I cannot help with that.",
}
SURE = Rules(unsafe_threshold=0.8, non_safe_threshold=0.8)
POLICIES = (load_policy("strict"), load_policy("balanced"), Policy(name="only if sure", prompt=SURE, response=SURE))


def record(path: Path) -> None:
    """Let traffic pass unstopped, as before a roll-out; each record has the probabilities of every token, no text."""
    with JsonlSink(path) as sink, Guard.default(policy="shadow", sinks=[sink]) as guard:
        for question, answer in TRAFFIC.items():
            guard.check_prompt(question)
            guard.check_response(question, answer)


def main() -> None:
    """Record once, then ask what each policy would have done; on the command line it is `guardrail replay`."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "decisions.jsonl"
        record(path)
        for policy in POLICIES:
            print(f"\n{policy.name}:")
            comparison, summary = Comparison(policy), Summary()
            for compared in map(comparison.compare, read_records(path)):
                summary.add(compared.record, compared)
                if compared.change is not Change.SAME:
                    print(f"  {compared.record.direction} {compared.change}: {compared.after.category or 'harmless'}")
            told = summary.groups["all"]
            print(f"  {told.n} decisions: {told.before['stop']} stopped before, {told.after['stop']} after")


if __name__ == "__main__":
    main()
