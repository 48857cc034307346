"""The learner of the reference on a tiny checkpoint: it learns, goes on after a kill, and is asked in batches."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.taxonomy import RiskLevel
from guardrail.training.learners.learning import Lesson, Variant, check_learner, open_learner
from guardrail.training.learners.settings import LearnerSettings
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.tuning.trainer import GuardTrainer
from tests.tiny import write_tiny
from tests.training.learners.toy import toy_rows

BINARY = (RiskLevel.SAFE, RiskLevel.UNSAFE)
EVEN = Variant("even", dict.fromkeys(BINARY, 1.0), dict.fromkeys(BINARY, 1.0))
STRICT = Variant("strict", {RiskLevel.SAFE: 0.02, RiskLevel.UNSAFE: 1.98}, dict.fromkeys(BINARY, 1.0))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("start"), n_layers=1)


def settings_of(start: Path, **changes: object) -> LearnerSettings:
    """Steps large enough for random weights."""
    few = {"epochs": 15, "batch_tokens": 512, "max_length": 64, "learning_rate": 3e-3, "head_learning_rate": 3e-3}
    return LearnerSettings("sft", start=start, **{**few, "threads": 1, **changes})  # type: ignore[arg-type]  # names of fields


def clear_rows() -> list[RecipeRow]:
    """Prompts and answers without the borderline ones."""
    rows = [*toy_rows(24), *toy_rows(24, target=Direction.RESPONSE)]
    return [row for row in rows if row.meta["kind"] != "Controversial"]


def lessons_of(rows: list[RecipeRow]) -> Iterator[Lesson]:
    """Their labels."""
    return (Lesson(row, row.risk) for row in rows if row.risk)


def test_prompts_and_answers_are_learned_and_scored_by_their_own_heads(start: Path, tmp_path: Path) -> None:
    """A prompt at its end, an answer over its second half; thinking is left out; a row's batch mates change nothing."""
    rows = clear_rows()
    rows[-1] = replace(
        rows[-1], messages=(*rows[-1].messages[:-1], replace(rows[-1].messages[-1], reasoning="I think of bombs."))
    )
    panel = open_learner(settings_of(start), tmp_path, 1).learn("toy", lessons_of(rows), BINARY, [EVEN])
    found = panel.probabilities(rows)
    assert found.shape == (1, len(rows), 2)
    assert found.dtype == np.float32
    assert found.sum(2) == pytest.approx(1, abs=1e-5)
    gold = np.array([BINARY.index(row.risk) for row in rows if row.risk])
    assert (found[0].argmax(1) == gold).mean() > 0.9
    alone = np.concatenate([panel.probabilities([row]) for row in rows], axis=1)
    assert found == pytest.approx(alone, abs=1e-4)


def test_the_weights_of_a_variant_reach_the_loss(start: Path, tmp_path: Path) -> None:
    """Where Unsafe is nearly all of the weight, everything is Unsafe."""
    rows = clear_rows()
    panel = open_learner(settings_of(start, epochs=2), tmp_path, 1).learn(
        "toy", lessons_of(rows), BINARY, [EVEN, STRICT]
    )
    even, strict = panel.probabilities(rows)[..., 1].mean(1)
    assert strict > 0.8 > even


def test_a_killed_run_goes_on_from_its_checkpoint(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second start takes the steps that were missing, and the classifier is the one of an undisturbed run."""
    rows, settings = clear_rows(), settings_of(start, epochs=4, save_minutes=0)
    calm = open_learner(settings, tmp_path / "calm", 1).learn("toy", lessons_of(rows), BINARY, [EVEN])
    step, n_steps = GuardTrainer.training_step, 0

    def killed(trainer: GuardTrainer, *values: Any) -> torch.Tensor:
        nonlocal n_steps
        n_steps += 1
        if n_steps == 5:
            raise KeyboardInterrupt
        return step(trainer, *values)

    monkeypatch.setattr(GuardTrainer, "training_step", killed)
    with pytest.raises(KeyboardInterrupt):
        open_learner(settings, tmp_path / "killed", 1).learn("toy", lessons_of(rows), BINARY, [EVEN])
    again = open_learner(settings, tmp_path / "killed", 1).learn("toy", lessons_of(rows), BINARY, [EVEN])
    log = (tmp_path / "calm" / "toy" / "even" / "run" / "log.jsonl").read_text().splitlines()
    assert n_steps - 1 == json.loads(log[-1])["step"] > 5
    assert again.probabilities(rows).tobytes() == calm.probabilities(rows).tobytes()


def test_a_finished_panel_is_not_trained_again(start: Path, tmp_path: Path) -> None:
    """Nor are the lessons read."""
    rows, settings = clear_rows(), settings_of(start, epochs=1)
    first = open_learner(settings, tmp_path, 1).learn("toy", lessons_of(rows), BINARY, [EVEN])

    def unread() -> Iterator[Lesson]:
        raise AssertionError
        yield

    again = open_learner(settings, tmp_path, 1).learn("toy", unread(), BINARY, [EVEN])
    assert again.probabilities(rows).tobytes() == first.probabilities(rows).tobytes()


def test_an_empty_answer_has_a_score(start: Path, tmp_path: Path) -> None:
    """There is no token to judge but those around it."""
    rows = clear_rows()
    panel = open_learner(settings_of(start, epochs=1), tmp_path, 1).learn("toy", lessons_of(rows), BINARY, [EVEN])
    empty = replace(rows[-1], messages=(Message(Role.USER, "Hm?"), Message(Role.ASSISTANT, "")))
    assert np.isfinite(panel.probabilities([empty])).all()


def test_the_checkpoint_is_part_of_the_plan(start: Path, tmp_path: Path) -> None:
    """Other weights make what was made before stale; a missing folder is refused before anything runs."""
    materials = check_learner(settings_of(start), "relabel")
    other = check_learner(settings_of(write_tiny(tmp_path / "other", n_layers=1, seed=1)), "relabel")
    assert set(materials) == set(other) >= {"start/config.json", "start/model.safetensors", "start/tokenizer.json"}
    assert materials["start/model.safetensors"] != other["start/model.safetensors"]
    assert materials["start/tokenizer.json"] == other["start/tokenizer.json"]
    assert check_learner(LearnerSettings(), "relabel") == {}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (LearnerSettings("sft"), "needs a checkpoint"),
        (LearnerSettings("sft", start=Path("/nowhere")), "needs a checkpoint"),
        (LearnerSettings("tfidf", start=Path("/nowhere")), "is for kind"),
    ],
)
def test_a_learner_without_its_checkpoint_is_refused(settings: LearnerSettings, says: str) -> None:
    """And one that names it for nothing."""
    with pytest.raises(ConfigurationError, match=says):
        check_learner(settings, "relabel")
