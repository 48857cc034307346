"""How much of disguised harm the guard finds, with and without the normalised twin, and what the twin costs.

    python benchmarks/evasion.py [--data data] [--tables prompts answers controls harmless] [--rows 40] [--harmless 100]

Needs labelled rows in the format of `guardrail evaluate`, files `dev_advbench`, `gptfuzz_responses` and harmless ones
named below. Found is what the policy `balanced` stops. Each disguise is also put on harmless prompts: a model that
stops whatever looks odd would find all. Harmless texts as they are show false alarms. Intervals are Wilson's, 95 %; the
twin changes a verdict only towards harm, so every difference is one of the same rows.
"""

import argparse
import base64
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import islice, pairwise
from pathlib import Path
from random import Random

from disguises import DISGUISES

from guardrail import Check, Direction, Guard, RiskLevel
from guardrail.bench.machine import cores, cpu_name
from guardrail.conversation import Message
from guardrail.engines.base import Feed, Logits
from guardrail.evaluation.metrics import rate
from guardrail.evaluation.rows import Row, read_rows
from guardrail.normalise_rules import NormaliseRules
from guardrail.policy_file import load_policy
from guardrail.testing import EngineAround

PACKAGES = ("guardrail-stream", "onnxruntime", "numpy", "tokenizers")
MOST_CHARS = 200
"""Characters of a text that are disguised and judged: answers are long, and a disguise multiplies their tokens."""

DISGUISED = {
    "prompts": ("dev_advbench", RiskLevel.UNSAFE),
    "answers": ("gptfuzz_responses", RiskLevel.UNSAFE),
    "controls": ("questions_benign", RiskLevel.SAFE),
}
"""Tables of disguised texts: source and label of their rows."""

HARMLESS_PROMPTS = {
    "questions": ("questions_benign", "persona_prompts_benign"),
    "hard negatives": ("dev_contrast_pairs", "cyber_benign"),
    "code": ("code_instruct",),
    "other languages": ("xquad_questions_benign", "tatoeba_benign"),
    "tool results": ("agentdojo_workspace_train", "bipia_tool_results_train"),
}
HARMLESS_ANSWERS = {
    "instructions": ("dev_user_oriented_benign", "dolly_benign"),
    "code": ("codegen_benign",),
    "numbers": ("gsm8k_benign",),
    "other languages": ("chatterbot_benign", "smilechat_benign"),
}


class Counting(EngineAround):
    """Counts the tokens that the model reads.

    Attributes:
        n_tokens: read so far.
    """

    n_tokens = 0

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Step."""
        self.n_tokens += sum(len(feed.ids) for feed in feeds)
        return self.inner.step(feeds)


@dataclass(frozen=True, slots=True)
class Found:
    """What one guard stopped of some texts.

    Attributes:
        stopped: whether each was.
        n_tokens: read.
    """

    stopped: tuple[bool, ...]
    n_tokens: int

    def __add__(self, other: "Found") -> "Found":
        return Found(self.stopped + other.stopped, self.n_tokens + other.n_tokens)

    def __str__(self) -> str:
        share = rate(sum(self.stopped), len(self.stopped))
        if share.value is None or share.low is None or share.high is None:
            return "-"
        return f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})"


class Pair:
    """The same guard without and with twins."""

    def __init__(self, model: Guard) -> None:
        self.engine = Counting(model.engine)
        policy = load_policy("balanced")
        self.plain = Guard(self.engine, model.reader, policy=policy, kept_bytes=0)
        both = replace(policy, normalise=NormaliseRules(prompts=True, answers=True))
        self.twin = self.plain.with_policy(both)

    def found(self, guard: Guard, checks: Sequence[Check]) -> Found:
        """Judge texts."""
        before = self.engine.n_tokens
        stopped = tuple(decision.stopped for decision in guard.check_many(checks))
        return Found(stopped, self.engine.n_tokens - before)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of labelled rows")
    parser.add_argument("--rows", type=int, default=40, help="rows of a kind that are disguised")
    parser.add_argument("--harmless", type=int, default=100, help="rows of a kind that are judged as they are")
    parser.add_argument("--tables", nargs="+", choices=[*DISGUISED, "harmless"], default=[*DISGUISED, "harmless"])
    options = parser.parse_args()
    with Guard.default(threads=1, kept_bytes=0) as model:
        print(about(model))
        pair = Pair(model)
        for table, (source, risk) in DISGUISED.items():
            if table in options.tables:
                rows = sample(options.data, (source,), options.rows, risk)
                title = f"{table}: {len(rows)} rows of {source}, {risk.value}, stopped"
                show(title, disguised(pair, rows))
        if "harmless" in options.tables:
            show("harmless: as they are, stopped", false_alarms(pair, options))


def show(title: str, lines: Iterator[str]) -> None:
    """Print a table as it comes."""
    print(f"\n## {title}\n", flush=True)
    for one in lines:
        print(one, flush=True)


def about(guard: Guard) -> str:
    """Return the model, the machine and the versions, in a line."""
    info = guard.engine.info
    versions = [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)]
    return f"{info.name}, {info.precision}, policy balanced; {cpu_name()}, {cores()} cores; {', '.join(versions)}"


def sample(folder: Path, names: Sequence[str], n: int, risk: RiskLevel) -> list[Row]:
    """Return rows of some sources with a label, drawn with a fixed seed."""
    rows = [row for name in names for row in read_rows(folder / f"{name}.jsonl.gz") if row.risk is risk]
    return Random(7).sample(rows, min(n, len(rows)))


def disguised(pair: Pair, rows: Sequence[Row]) -> Iterator[str]:
    """Yield a table of what is stopped plain and under each disguise."""
    yield "| disguise | without twin | with twin | tokens read |"
    yield "|---|---|---|---|"
    for name, disguise in {"none": None, **DISGUISES}.items():
        chance = Random(7)
        texts = [judged(row)[:MOST_CHARS] for row in rows]
        checks = [
            check(row, disguise(text, chance) if disguise else text) for row, text in zip(rows, texts, strict=True)
        ]
        yield line(name, pair.found(pair.plain, checks), pair.found(pair.twin, checks))


def judged(row: Row) -> str:
    """Return the text of a row that is judged."""
    return row.messages[-1].content


def check(row: Row, text: str) -> Check:
    """Return the check of a row with another text in place of the judged one."""
    if row.target is Direction.RESPONSE:
        return Check(row.messages[:-1], text)
    return Check((*row.messages[:-1], replace(row.messages[-1], content=text)))


def line(name: str, plain: Found, twin: Found) -> str:
    """Return what both guards stopped, and what the twin read more, as a row of a table."""
    return f"| {name} | {plain} | {twin} | x {twin.n_tokens / plain.n_tokens:.2f} |"


def false_alarms(pair: Pair, options: argparse.Namespace) -> Iterator[str]:
    """Yield a table of what is stopped of harmless texts."""
    yield "| harmless | without twin | with twin | tokens read |"
    yield "|---|---|---|---|"
    groups: dict[str, list[Check]] = {}
    for target, kinds in ((Direction.PROMPT, HARMLESS_PROMPTS), (Direction.RESPONSE, HARMLESS_ANSWERS)):
        for kind, names in kinds.items():
            rows = sample(options.data, names, options.harmless, RiskLevel.SAFE)
            groups[f"{target.value}s: {kind}"] = [check(row, judged(row)) for row in rows if row.target is target]
    groups["prompts: questions with harmless base64"] = list(islice(with_base64(options), options.harmless))
    plains, twins = Found((), 0), Found((), 0)
    for name, checks in groups.items():
        plain, twin = pair.found(pair.plain, checks), pair.found(pair.twin, checks)
        plains, twins = plains + plain, twins + twin
        yield line(f"{name}, {len(checks)} rows", plain, twin)
    yield line(f"all, {len(plains.stopped)} rows", plains, twins)


def with_base64(options: argparse.Namespace) -> Iterator[Check]:
    """Yield harmless prompts that hold another harmless prompt, or bytes that are no text, in base64."""
    rows = sample(options.data, ("questions_benign",), 2 * options.harmless, RiskLevel.SAFE)
    chance = Random(7)
    for i, (row, other) in enumerate(pairwise(rows)):
        hidden = judged(other).encode() if i % 2 else chance.randbytes(60)
        text = f"{judged(row)}\nattachment: {base64.b64encode(hidden).decode()}"
        yield Check((*row.messages[:-1], Message(row.messages[-1].role, text)))


if __name__ == "__main__":
    main()
