"""Measures the guard, the baseline and others' scanners on the same rows, and prints a Markdown table with intervals.

    python benchmarks/judges_compare.py                                  # all of the below that is at hand
    python benchmarks/judges_compare.py --limit 200 --judge default --judge peer:better-profanity
    python benchmarks/judges_compare.py --judge "openai:https://api.openai.com/v1#omni-moderation-latest?key=KEY"
    python benchmarks/judges_compare.py --plumbing                       # a Gen model behind `transformers serve`

Without --judge: the embedded guard, TF-IDF learnt on the recipe's rows, every peer that is installed here, and the
embedded guard once more behind `guardrail serve`, as OpenAI's moderation endpoint and verdict by verdict. What cannot
be opened is named, with the reason, and left out: the table needs no environment of its own. `--judge` takes any judge
of docs/judges.md; keys are read from the variables that `key=` names.

`--plumbing` asks a tiny Gen model, taught eleven sentences in a minute, about those and a few rows it never saw: it
shows that questions, answers, refusals and failures come through, and nothing about Qwen3Guard-Gen. Needs the checkout.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from guardrail.bench.machine import cores, cpu_name, installed
from guardrail.decision import Direction
from guardrail.errors import ConfigurationError, EngineError
from guardrail.evaluation.baseline import fit_baseline
from guardrail.evaluation.foreign import PEERS
from guardrail.evaluation.judge_settings import JudgeSettings
from guardrail.evaluation.judge_specs import Spec, parse_specs
from guardrail.evaluation.metrics import Estimate
from guardrail.evaluation.opening import open_judge
from guardrail.evaluation.protocol import Protocol
from guardrail.evaluation.report import Figures, sections
from guardrail.evaluation.rows import TARGETS, Row, Tally
from guardrail.evaluation.runner import Run, run
from guardrail.loader import cache_folder
from guardrail.policy_file import load_policy
from guardrail.training.recipe_rows import training_rows

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "examples" / "recipe" / "sft.toml"
PACKAGES = ("guardrail-stream", "onnxruntime", "scikit-learn", *PEERS)
BANNER = re.compile(r"http://\S+")

N_UNSEEN = 10
"""Rows of the protocol that the tiny Gen model is asked about."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--protocol", type=Path, default=ROOT / "examples" / "recipe" / "dev.toml")
    parser.add_argument("--limit", type=int, default=200, help="most rows of each file, a seeded sample")
    parser.add_argument("--judge", action="append", default=[], help="as docs/judges.md writes them; repeatable")
    parser.add_argument("--policy", default="balanced")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--plumbing", action="store_true")
    options = parser.parse_args()
    protocol = Protocol.from_file(options.protocol)
    rows = protocol.model_copy(update={"limit": options.limit}).read(Tally())
    cache = cache_folder() / "baseline"  # as `guardrail evaluate` keeps them
    settings = JudgeSettings(
        load_policy(options.policy), os.environ, options.threads, cache=cache,
        baseline=lambda policy: fit_baseline(training_rows(RECIPE), policy, cache),
    )  # fmt: skip
    print(described(), f"\n{len(rows)} rows, at most {options.limit} of each file of {options.protocol.name}\n")
    if options.plumbing:
        plumbing(rows, settings)
        return
    with ExitStack() as stack:
        texts = options.judge or [*defaults(), *served(stack.enter_context(serving(options.threads)))]
        runs = [found for spec in parse_specs(texts) if (found := measured(spec, rows, settings))]
    measures = [(one.judge, sections(one)) for one in runs]
    for direction in TARGETS:
        if shown := {judge: figures[direction].overall for judge, figures in measures if direction in figures}:
            print(table(shown, direction), "\n")
    for one in runs:
        print(f"{one.judge}: {one.seconds:.0f} s; {identity(one)}")


def identity(one: Run) -> str:
    """Return what ran, with hashes cut short."""
    known = {key: value for key, value in one.identity.items() if value and key != "policy_sha256"}
    return ", ".join(f"{key} {value[:12] if key.endswith('sha256') else value}" for key, value in known.items())


def described() -> str:
    """Return what runs here."""
    return f"{', '.join(installed(PACKAGES))}, Python {platform.python_version()}, {cpu_name()}"


def defaults() -> list[str]:
    """Return the judges that need no server."""
    return ["default?name=guard", "tfidf", *(f"peer:{name}" for name in PEERS)]


def served(url: str) -> list[str]:
    """Return the judges that ask our own service: as OpenAI's client would, with the conversation, and by verdicts."""
    return [
        f"openai:{url}/v1?name=moderations, text alone",
        f"openai:{url}/v1?form=messages&name=moderations, messages",
        f"service:{url}?name=service",
    ]


@contextmanager
def serving(threads: int) -> Iterator[str]:
    """Run `guardrail serve` with the embedded model on a free port, in shadow; yield its URL."""
    command = [sys.executable, "-m", "guardrail.cli", "serve", "--port", "0", "--policy", "shadow"]
    with tempfile.NamedTemporaryFile("w+") as log:
        process = subprocess.Popen([*command, "--threads", str(threads)], stderr=log, text=True)
        try:
            yield waited(process, Path(log.name))
        finally:
            process.terminate()
            process.wait(30)


def waited(process: "subprocess.Popen[str]", log: Path) -> str:
    """Return the URL that the service's banner tells."""
    while process.poll() is None:
        if found := BANNER.search(log.read_text("utf-8")):
            return found.group()
        time.sleep(0.2)
    raise SystemExit("guardrail serve ended early")


def measured(spec: Spec, rows: Sequence[Row], settings: JudgeSettings) -> Run | None:
    """Return what a judge says about all rows; None where it cannot be opened, which is said."""
    try:
        with open_judge(spec, settings) as judge:
            return run(judge, rows, console=Console(stderr=True))
    except (ConfigurationError, EngineError) as error:
        print(f"left out: {spec.name}: {error}\n", flush=True)
        return None


def table(found: Mapping[str, Figures], direction: Direction) -> str:
    """Return a direction's figures, judges side by side."""
    header = ["judge", "safe", "harmful", "AUC", "recall", "F1 strict", "F1 loose", "false positives", "failed"]
    lines = [f"{direction.value.capitalize()}s", "", f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    lines += [f"| {judge} | {' | '.join(cells(figures))} |" for judge, figures in found.items()]
    return "\n".join(lines)


def cells(found: Figures) -> list[str]:
    """Return one judge's figures."""
    shown = [
        found.auc, found.strict.recall, found.strict.f1, found.loose.f1, found.false_positives
    ]  # fmt: skip
    counts = [str(found.n_safe), str(found.n_controversial + found.n_unsafe)]
    return [*counts, *map(percent, shown), str(found.n_failed)]


def percent(found: Estimate) -> str:
    """Return a figure in per cent with its interval."""
    if found.value is None or found.low is None or found.high is None:
        return "-"
    return f"{100 * found.value:.1f} ({100 * found.low:.1f}-{100 * found.high:.1f})"


def plumbing(rows: Sequence[Row], settings: JudgeSettings) -> None:
    """Ask a tiny Gen model behind `transformers serve` what it was taught, and about rows it never saw."""
    sys.path.insert(0, str(ROOT))  # the tiny model and its server are the tests'
    from tests.generative.test_gen_judge import ROWS, WRITTEN, said
    from tests.generative.tiny_gen import hugging_face_tokenizer, write_gen
    from tests.transformers_serve import serving as transformers_serve

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "gen"
        write_gen(folder, taught=True)
        hugging_face_tokenizer(folder).save_pretrained(folder)
        with transformers_serve(folder) as url:
            found = measured(Spec.parse(f"gen:{url}/v1#{folder}?name=gen"), [*ROWS, *rows[:N_UNSEEN]], settings)
    if found is None:
        raise SystemExit(1)
    taught, unseen = found.judgements[: len(ROWS)], found.judgements[len(ROWS) :]
    n_right = sum(said(one) == written for one, written in zip(taught, WRITTEN, strict=True))
    failures = [one.failure for one in unseen if one.failure]
    print(f"taught: {n_right} of {len(ROWS)} levels, categories and refusals as the model writes them")
    print(
        f"never seen: {len(failures)} of {len(unseen)} failed ({', '.join(sorted(set(failures)))}), counted as Unsafe"
    )


if __name__ == "__main__":
    main()
