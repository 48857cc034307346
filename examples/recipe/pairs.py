"""Our own contrast rows as data of the recipe: `python examples/recipe/pairs.py runs/pairs`.

The tables in examples/recipe/pairs/ were written for this project with a language model (CC0): harmful and harmless
prompts of like wording, long prompts with and without an order that makes a jailbreak of them, answers that turn
harmful at a known place, tool results with and without hidden orders.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "pairs"
Row = dict[str, Any]


def table(name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield a table's rows, numbered; backslash-n in a cell is a line break."""
    lines = (FOLDER / name).read_text("utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        yield number, [cell.replace("\\n", "\n") for cell in line.split("\t")]


def row(identity: str, lang: str, messages: list[tuple[str, str]], risk: str, category: str, **more: Any) -> Row:
    """Return a row of the data schema."""
    turns = [{"role": role, "content": content} for role, content in messages]
    target = "response" if messages[-1][0] == "assistant" else "prompt"
    kinds = [category] if risk != "safe" else []
    base = {"id": identity, "source": identity.rpartition("-")[0], "lang": lang, "messages": turns, "target": target}
    return {**base, "risk": risk, "category": kinds, "refusal": None, "unsafe_start_char": None, "meta": {}, **more}


def prompts() -> Iterator[Row]:
    """Yield both prompts of each pair, then ordinary and edge prompts."""
    english = [(i, ["en", category, a, b]) for i, (category, _, a, b) in table("en.tsv")]
    for name, rows in (("own_pairs", english), ("own_pairs_multi", table("multi.tsv"))):
        for i, (lang, category, harmful, harmless) in rows:
            yield row(f"{name}-{i}a", lang, [("user", harmful)], "unsafe", category)
            yield row(f"{name}-{i}b", lang, [("user", harmless)], "safe", category)
    english = [(i, ["en", text]) for i, (_, text) in table("benign.tsv")]
    for name, rows in (("own_benign", english), ("own_benign_multi", table("multi_benign.tsv"))):
        for i, (lang, text) in rows:
            yield row(f"{name}-{i}", lang, [("user", text)], "safe", "")


def long_prompts() -> Iterator[Row]:
    """Yield each long ordinary prompt with and without what makes a jailbreak of it."""
    for i, (lang, ordinary, anchor, order) in table("long.tsv"):
        before, found, after = ordinary.partition(anchor)
        yield row(f"own_long-{i}a", lang, [("user", before + found + order + after)], "unsafe", "jailbreak")
        yield row(f"own_long-{i}b", lang, [("user", ordinary)], "safe", "")


def answers() -> Iterator[Row]:
    """Yield the harmful answer, with the place where it turns, and the safe one to each question."""
    for i, (lang, category, question, harmful, safe, turn) in table("answers.tsv"):
        asked, onset = ("user", question), harmful.index(turn)
        yield row(
            f"own_answers-{i}a", lang, [asked, ("assistant", harmful)], "unsafe", category, unsafe_start_char=onset
        )
        yield row(f"own_answers-{i}b", lang, [asked, ("assistant", safe)], "safe", category)
    for i, (lang, question, answer) in table("safe_answers.tsv"):
        yield row(f"own_safe_answers-{i}", lang, [("user", question), ("assistant", answer)], "safe", "")


def tool_results() -> Iterator[Row]:
    """Yield each tool result with and without its hidden order."""
    for i, (_, clean, poisoned) in table("tools.tsv"):
        yield row(f"own_tools-{i}a", "en", [("tool", poisoned)], "unsafe", "jailbreak")
        yield row(f"own_tools-{i}b", "en", [("tool", clean)], "safe", "jailbreak")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for kind in (prompts, long_prompts, answers, tool_results):
        lines = [json.dumps(one, ensure_ascii=False) for one in kind()]
        (folder / f"{kind.__name__}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
        print(f"{kind.__name__}.jsonl: {len(lines)} rows")
