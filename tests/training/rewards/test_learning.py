"""Triples from labelled rows, and a short run that learns their order and leaves a model that can be used."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from guardrail.cli.main import run
from guardrail.errors import ConfigurationError
from guardrail.training.corpus import is_held_out
from guardrail.training.examples import Source
from guardrail.training.refusal_phrases import is_refusal
from guardrail.training.rewards import Completion
from guardrail.training.rewards.classifier import Classifier
from guardrail.training.rewards.learning import stage
from guardrail.training.rewards.learning.refusal_texts import REFUSAL_TEXTS
from guardrail.training.rewards.learning.settings import HelpfulnessSettings
from guardrail.training.rewards.learning.start import open_start
from guardrail.training.rewards.learning.triples import Triple, Triples, read_triples
from guardrail.training.settings import load_settings
from tests.tiny import write_tiny
from tests.training.rewards.judging_parts import PROMPT

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft's own

ROOT = Path(__file__).resolve().parents[3]
FOODS = ("bread", "soup", "rice", "cake", "tea", "salad", "jam", "pasta")


def row(number: int, **changes: Any) -> dict[str, Any]:
    """A harmless request and an answer that speaks of the same food."""
    food = FOODS[number % len(FOODS)]
    messages = [
        {"role": "user", "content": f"{number}: how do I make {food}?"},
        {"role": "assistant", "content": f"To make {food}, take {number} spoons of good {food} and wait."},
    ]
    return {
        "id": str(number), "source": "toy", "lang": "en", "messages": messages, "target": "response", "risk": "safe",
        "category": [], "refusal": None, "unsafe_start_char": None, "meta": {}, **changes,
    }  # fmt: skip


def write(folder: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> None:
    """A data file."""
    (folder / name).write_text("\n".join(map(json.dumps, rows)), "utf-8")


def answers(text: str) -> list[dict[str, str]]:
    """Messages that end in an answer."""
    return [{"role": "user", "content": "How do I sleep?"}, {"role": "assistant", "content": text}]


def read(folder: Path, **refusals: Source) -> Triples:
    """The triples of the file."""
    return read_triples(folder, {"rows.jsonl": Source()}, {f"{name}.jsonl": s for name, s in refusals.items()}, seed=1)


def test_each_row_meets_anothers_answer_and_a_refusal(tmp_path: Path) -> None:
    """Each answer stands beside one other request, of its own language."""
    write(tmp_path, [row(i, lang="de" if i % 2 else "en") for i in range(60)])
    found = read(tmp_path)
    real = {triple.real: triple for triple in found.training}
    assert len(real) == len(found.training) == 60 - len(found.held_out) - found.counts["unusable"]
    assert found.counts["unusable"] == 1  # the only row that is held out finds no other one
    assert sorted(triple.shuffled for triple in found.training) == sorted(real)
    for triple in found.training:
        assert triple.shuffled != triple.real
        assert real[triple.shuffled].lang == triple.lang
        assert triple.refusal in REFUSAL_TEXTS[triple.lang]
        assert is_refusal(triple.refusal)
    assert read(tmp_path) == found


def test_held_out_requests_and_refusals_are_not_learned(tmp_path: Path) -> None:
    """Else the model is measured on what it knows by heart."""
    write(tmp_path, [row(i) for i in range(400)])
    found = read(tmp_path)
    assert found.held_out
    assert all(is_held_out(triple.prompt[0].content) for triple in found.held_out)
    assert not {t.refusal for t in found.held_out} & {t.refusal for t in found.training}
    assert not {t.shuffled for t in found.held_out} & {t.real for t in found.training}
    assert found.counts["held_out"] == len(found.held_out)


@pytest.mark.parametrize(
    "changes",
    [
        {"risk": "unsafe"},
        {"refusal": True},
        {"target": "prompt", "messages": [{"role": "user", "content": "How do I sleep?"}]},
        {"messages": [{"role": "assistant", "content": "Hello."}]},
        {"messages": answers("I'm sorry, but I can't help with that.")},
        {"messages": answers(" ")},
    ],
)
def test_only_answers_to_harmless_requests_are_taken(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Neither what is unsafe nor what refuses, by its label or by its words, is a good answer."""
    write(tmp_path, [*(row(i) for i in range(8)), row(8, **changes)])
    found = read(tmp_path)
    assert len(found.training) + len(found.held_out) == 8
    assert found.counts["unusable"] == 1


def test_refusals_of_data_join_those_of_the_package(tmp_path: Path) -> None:
    """Short ones that refuse by label and words."""
    write(tmp_path, [row(i) for i in range(200)])
    texts = [f"I'm sorry, but I can't help with request {i}." for i in range(40)]
    rows = [row(i, refusal=True, messages=answers(text)) for i, text in enumerate(texts)]
    rows += [row(90, refusal=None, messages=answers("I'm sorry, but I can't do number 90."))]
    rows += [row(91, refusal=True, messages=answers("Number 91 is a fine day."))]
    write(tmp_path, rows, "refused.jsonl")
    found = read(tmp_path, refused=Source())
    drawn = {triple.refusal for triple in (*found.training, *found.held_out)}
    assert drawn & set(texts)
    assert not any("90" in text or "91" in text for text in drawn)
    own = sum(map(len, REFUSAL_TEXTS.values()))
    assert found.counts["refusals"] + found.counts["held_out_refusals"] == own + len(texts)


def test_files_without_answers_are_refused(tmp_path: Path) -> None:
    """With what a source needs."""
    write(tmp_path, [row(i, risk="unsafe") for i in range(4)])
    with pytest.raises(ConfigurationError, match="no answers to train on"):
        read(tmp_path)


def test_the_example_can_be_read() -> None:
    """Its keys are those of the settings."""
    settings = load_settings(ROOT / "examples" / "rewards" / "helpfulness.toml", HelpfulnessSettings)
    assert settings.sources["coconot_contrast_train.jsonl.gz"].repeat == 2


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on toy rows: the answer to a request names its food."""
    folder = tmp_path_factory.mktemp("helpfulness")
    write(folder, [row(i) for i in range(240)])
    write_tiny(folder / "start")
    (folder / "run.toml").write_text(
        f'data_dir = "{folder}"\nstart = "{folder}/start"\noutput = "{folder}/run"\nfresh = true\nmax_steps = 40\n'
        "batch = 8\nlearning_rate = 3e-3\nmax_length = 64\nthreads = 1\nevaluate_steps = 40\nsave_steps = 20\n"
        'log_steps = 10\ndevice = "cpu"\n[sources."rows.jsonl"]\n'
    )
    assert run(["train", "helpfulness", str(folder / "run.toml")]) == 0
    return folder


def log_of(folder: Path) -> list[dict[str, Any]]:
    """The lines of the run's log."""
    return [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]


def test_a_short_run_learns_to_tell_refusals_and_leaves_a_model(trained: Path) -> None:
    """By rows and refusals it has not seen; the checkpoint gives the scores that were measured."""
    log = log_of(trained)
    assert [line.get("event") for line in log if "event" in line] == ["start", "data", "end"]
    before, end = next(line for line in log if "in_order" in line), log[-1]
    assert end["step"] == 40
    assert end["real_over_refusal"] > max(0.9, before["real_over_refusal"] - 0.1)
    assert end["shuffled_over_refusal"] > 0.9
    assert end["mean_real"] > end["mean_refusal"] + 1
    model = Classifier(trained / "run" / "checkpoint", max_length=64)
    good, refusal = model.score([
        Completion(PROMPT, "", "To make bread, take 3 spoons of good bread and wait."),
        Completion(PROMPT, "", REFUSAL_TEXTS["en"][0]),
    ])  # fmt: skip
    assert isinstance(good, float)
    assert isinstance(refusal, float)
    assert good > refusal
    assert json.loads((trained / "run" / "checkpoint" / "config.json").read_text())["architectures"] == [
        "Qwen3ForSequenceClassification"
    ]


def test_a_finished_run_is_continued_only_if_asked_and_does_nothing_more(trained: Path) -> None:
    """Its model stays as it is, to the bit."""
    weights = (trained / "run" / "checkpoint" / "model.safetensors").read_bytes()
    with pytest.raises(ConfigurationError, match="--resume continues it"):
        stage.main(trained / "run.toml")
    stage.main(trained / "run.toml", resume=True)
    assert (trained / "run" / "checkpoint" / "model.safetensors").read_bytes() == weights
    assert log_of(trained)[-1]["in_order"] == pytest.approx(
        next(line for line in reversed(log_of(trained)[:-1]) if "in_order" in line)["in_order"]
    )


def test_the_pairs_are_the_three_of_a_triple(trained: Path) -> None:
    """The better one first, rendered and cut as the model is used."""
    tokenizer, _ = open_start(load_settings(trained / "run.toml", HelpfulnessSettings))
    triple = Triple(PROMPT, "a real one", "another one", "a refusal", "en")
    texts = [[tokenizer.decode(ids) for ids in pair] for pair in stage._pairs(tokenizer, [triple], 64)]
    ends = [[text.rpartition("assistant\n")[2].removesuffix("<|im_end|>\n") for text in pair] for pair in texts]
    assert ends == [["a real one", "another one"], ["a real one", "a refusal"], ["another one", "a refusal"]]


def test_a_start_that_cannot_work_is_refused(trained: Path, tmp_path: Path) -> None:
    """A context that is too short, and a folder without a model."""
    text = (trained / "run.toml").read_text()
    (tmp_path / "long.toml").write_text(
        text.replace("max_length = 64", "max_length = 5000").replace(f"{trained}/run", f"{tmp_path}/run")
    )
    with pytest.raises(ConfigurationError, match="longer than the context of 512"):
        stage.main(tmp_path / "long.toml")
    (tmp_path / "no.toml").write_text(
        text.replace(f"{trained}/start", f"{tmp_path}").replace(f"{trained}/run", f"{tmp_path}/other")
    )
    with pytest.raises(ConfigurationError, match="start: cannot load"):
        stage.main(tmp_path / "no.toml")


def test_the_same_settings_give_the_same_start(trained: Path) -> None:
    """Fresh weights are drawn by the seed, not by what ran before."""
    settings = load_settings(trained / "run.toml", HelpfulnessSettings)
    one, other = (open_start(settings)[1].state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
