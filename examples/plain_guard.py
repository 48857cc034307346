"""The guard without a framework: check a prompt, gate a stream of text, keep a record."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from guardrail import Guard
from guardrail.records import JsonlSink

PROMPT = "How do I bake bread?"


def answer() -> Iterator[str]:
    """Stand for any LLM client that yields pieces of text."""
    yield from ("Mix flour, ", "water, sal", "t and yeast, let the dough ri", "se, and bake it", " hot.")


def main() -> None:
    """Print what may be shown as soon as it may be shown."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "records.jsonl"
        with JsonlSink(path) as sink, Guard.default(sinks=[sink]) as guard:
            if guard.check_prompt(PROMPT).stopped:
                return
            with guard.open_stream(PROMPT) as stream:
                for delta in answer():
                    print(stream.feed(delta), end="", flush=True)
                    if stream.is_stopped:
                        break  # close the LLM's request here
                print(stream.finish())
                decision = stream.decision
            print(decision.action, decision.risk, decision.category, decision.stop_offset)
        print(path.read_text("utf-8").splitlines()[-1][:100], "...")


if __name__ == "__main__":
    main()
