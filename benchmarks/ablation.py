"""What each means of the embedded model's recipe gives: short fine-tunings that differ in one thing, with three seeds.

    python benchmarks/ablation.py runs/ablation                   # all variants; goes on where it was ended
    python benchmarks/ablation.py runs/ablation --epochs 0.05 --limit 200 --seeds 1 --variants "labels alone"

Needs what `examples/recipe/distil.toml` and `examples/recipe/teach.toml` write, and the extras `train` and `export`.
Each run is the fine-tuning of `examples/recipe/sft.toml` with fewer epochs and the changes of its variant, exported in
fp32, and judged by `examples/recipe/dev.toml` under the policy `balanced`, on the same rows for all. Prints a Markdown
table of means over the seeds with the smallest and the largest value, and keeps one JSON file a run.
"""

import argparse
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from guardrail.bench.machine import cores, described
from guardrail.checkpoint import TOKENIZER_FILE, Checkpoint
from guardrail.checkpoint_config import GuardConfig
from guardrail.decision import Direction
from guardrail.encoding import GuardTokenizer
from guardrail.evaluation.comparison import Report
from guardrail.evaluation.judge_settings import JudgeSettings
from guardrail.evaluation.judge_specs import Spec
from guardrail.evaluation.metrics import Estimate
from guardrail.evaluation.opening import open_judge
from guardrail.evaluation.protocol import Protocol
from guardrail.evaluation.rows import Row, Tally
from guardrail.evaluation.runner import run
from guardrail.network import GuardNetwork
from guardrail.onnx_export import export_checkpoint
from guardrail.policy_file import load_policy
from guardrail.training import sft
from guardrail.training.distil.settings import DistilSettings
from guardrail.training.run_folder import RunFolder
from guardrail.training.settings import load_settings
from guardrail.training.teach import stage as teach
from guardrail.training.teach.settings import Member, TeachSettings
from guardrail.training.tuning.settings import SftSettings
from guardrail.whole_files import whole_folder, write_whole

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "examples" / "recipe"
PACKAGES = ("guardrail-stream", "torch", "transformers", "onnxruntime", "scikit-learn", "numpy")
OWN = ("prompts.jsonl", "answers.jsonl", "tool_results.jsonl")
"""Files of examples/recipe/pairs."""

Change = Callable[[SftSettings, Path], SftSettings]


def random_start(settings: SftSettings, work: Path) -> SftSettings:
    """Begin with random weights of the same shape."""
    folder = work / "random" / str(settings.seed)
    if not folder.exists():
        distil = load_settings(RECIPE / "distil.toml", DistilSettings)
        vocab_size = GuardTokenizer.from_file(distil.tokenizer).vocab_size
        network = GuardNetwork.init(GuardConfig(**asdict(distil.shape), vocab_size=vocab_size), settings.seed)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with whole_folder(folder) as unfinished:
            network.save_checkpoint(unfinished, "f32")
            shutil.copyfile(distil.tokenizer, unfinished / TOKENIZER_FILE)
    return replace(settings, start=folder)


def no_own_rows(settings: SftSettings, _work: Path) -> SftSettings:
    """Learn from public rows alone."""
    return replace(settings, sources={name: one for name, one in settings.sources.items() if name not in OWN})


def no_teacher(settings: SftSettings, _work: Path) -> SftSettings:
    """Learn from labels alone, and from labelled rows alone."""
    sources = {name: replace(one, unlabelled=False) for name, one in settings.sources.items()}
    return replace(settings, teacher_share=0.0, sources=sources)


def one_teacher(member: Member) -> Change:
    """Return the change to soft labels by one kind of teacher."""

    def change(settings: SftSettings, work: Path) -> SftSettings:
        output = work / "teach" / member
        if not (output / "teachers.json").exists():
            settings_of = load_settings(RECIPE / "teach.toml", TeachSettings)
            vectors = settings_of.vectors or settings_of.output / "vectors"
            teach.run(replace(settings_of, members=(member,), output=output, vectors=vectors))
        return replace(settings, data_dir=output)

    return change


def even_weights(settings: SftSettings, _work: Path) -> SftSettings:
    """Weigh the risk levels alike."""
    return replace(settings, class_weights=(1.0, 1.0, 1.0))


VARIANTS: Mapping[str, tuple[Change, ...]] = {
    "labels alone": (random_start, no_own_rows, no_teacher),
    "+ distilled backbone": (no_own_rows, no_teacher),
    "+ our own rows": (no_teacher,),
    "+ teachers: the recipe": (),
    "teacher of words alone": (one_teacher("words"),),
    "teacher of vectors alone": (one_teacher("encoder"),),
    "the recipe without our own rows": (no_own_rows,),
    "the recipe from random weights": (random_start,),
    "the recipe, levels weighed alike": (even_weights,),
}
"""What is tried, in the order of the table."""

MEASURES = {
    "prompt_auc": "prompts, AUC, mean of sources",
    "answer_auc": "answers, AUC, mean of sources",
    "ordinary": "ordinary prompts flagged",
    "contrast": "harmless half of the contrast pairs flagged",
    "recall": "harmful prompts found",
    "jailbreak_f1": "F1, jailbreak answers",
    "hits": "onset within 16 tokens",
}
"""Columns."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What all runs share.

    Attributes:
        work: folder.
        rows: judged rows.
        protocol: that names the ordinary sources.
        epochs: of each fine-tuning.
        threads: of both.
    """

    work: Path
    rows: Sequence[Row]
    protocol: Protocol
    epochs: float
    threads: int

    def figures(self, name: str, seed: int) -> dict[str, float]:
        """Return a run's measures; train and judge it unless that was done."""
        place = self.work / f"{'_'.join(name.replace('+', 'plus').split())}-{seed}"
        kept = place / "figures.json"
        if kept.exists():
            found: dict[str, float] = json.loads(kept.read_text("utf-8"))
            return found
        settings = replace(load_settings(RECIPE / "sft.toml", SftSettings), seed=seed, epochs=self.epochs)
        for change in VARIANTS[name]:
            settings = change(settings, self.work)
        shutil.rmtree(place, ignore_errors=True)
        settings = replace(settings, output=place, threads=self.threads)
        folder = RunFolder(place, RECIPE / "sft.toml", resume=False)
        folder.log({"event": "variant", "name": name, "seed": seed, "epochs": self.epochs})
        sft.run(settings, folder)
        export_checkpoint(place / "checkpoint", place / "export", precision="fp32")
        measured = self.measure(place / "export")
        write_whole(kept, json.dumps(measured, indent=1).encode())
        for spent in ("export", "checkpoint"):
            shutil.rmtree(place / spent)
        for state in place.glob("checkpoint-*"):
            shutil.rmtree(state)
        return measured

    def measure(self, export: Path) -> dict[str, float]:
        """Return the measures of an export."""
        settings = JudgeSettings(load_policy("balanced"), threads=self.threads)
        with open_judge(Spec("onnx", str(export)), settings) as judge:
            report = Report.of([run(judge, self.rows, console=Console(stderr=True))], self.protocol.ordinary)
        sections = report.found[0]
        prompts, answers = sections[Direction.PROMPT], sections[Direction.RESPONSE]
        return {
            "prompt_auc": value(prompts.macro.auc),
            "answer_auc": value(answers.macro.auc),
            "ordinary": value(report.ordinary_found[0].false_positives),
            "contrast": value(prompts.by_source["pairs"].false_positives),
            "recall": value(prompts.overall.strict.recall),
            "jailbreak_f1": value(answers.by_source["gptfuzz_responses"].strict.f1),
            "hits": value(answers.latency.hits) if answers.latency else float("nan"),
        }


def value(found: Estimate) -> float:
    """Return an estimate's value, or not a number."""
    return float("nan") if found.value is None else found.value


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder for the runs")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--epochs", type=float, default=0.12)
    parser.add_argument("--limit", type=int, default=500, help="most rows of a file of the protocol")
    parser.add_argument("--threads", type=int, default=cores())
    options = parser.parse_args()
    protocol = Protocol.from_file(RECIPE / "dev.toml").model_copy(update={"limit": options.limit})
    bench = Bench(options.work, protocol.read(Tally()), protocol, options.epochs, options.threads)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in options.variants}
    for seed in options.seeds:
        for name in options.variants:
            found[name].append(bench.figures(name, seed))
    start = load_settings(RECIPE / "sft.toml", SftSettings).start
    print(described(Checkpoint.open(start).config, PACKAGES))
    print(f"{len(bench.rows)} rows, {options.epochs} epochs, seeds {', '.join(map(str, options.seeds))}\n")
    print(table(found))


def table(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Return the measures as Markdown: mean over the seeds, and the smallest and the largest."""
    lines = [f"| | {' | '.join(MEASURES.values())} |", "|---" * (len(MEASURES) + 1) + "|"]
    for name, runs in found.items():
        cells = [cell([one[key] for one in runs]) for key in MEASURES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(values: Sequence[float]) -> str:
    """Return one measure of a variant."""
    return f"{np.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})"


if __name__ == "__main__":
    main()
