"""Settings of a run: either a toy or models and files, and numbers that fit together."""

from pathlib import Path

import pytest

from guardrail.cli.main import run
from guardrail.errors import ConfigurationError
from guardrail.training.rl.settings import load_rl
from tests.training.rl.toys import ROOT, write_config

REAL = 'output = "runs/x"\n[policy_model]\nstart = "a"\n[[prompts]]\npath = "b"\n[[held_out]]\npath = "c"\n[judges]\n'


def load(folder: Path, text: str) -> None:
    """Load settings from a text."""
    (folder / "rl.toml").write_text(text, "utf-8")
    load_rl(folder / "rl.toml")


def test_real_models_need_all_of_their_parts(tmp_path: Path) -> None:
    """And stand beside no toy."""
    load(tmp_path, REAL)
    with pytest.raises(ConfigurationError, match="needs policy_model, prompts, held_out and judges, or"):
        load(tmp_path, REAL.replace("[judges]\n", ""))
    with pytest.raises(ConfigurationError, match="stands in place of"):
        load(tmp_path, REAL + "[toy]\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("[gspo]\nsave_steps = 6\n", "save_steps must be a multiple of gspo.mini_batches, 4"),
        ("[gspo]\nmini_batches = 1\n", "mini_batches: Input should be greater than or equal to 2"),
        ("[gspo]\nloss_type = 'dapo'\n", "unknown key 'loss_type'; valid: activation_checkpointing, answers, batch"),
        ("[measure]\nbatch = 12\n", "measure.batch must be a multiple of measure.answers, 8"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(tmp_path: Path, change: str, said: str) -> None:
    """With their names."""
    with pytest.raises(ConfigurationError, match=said):
        load(tmp_path, REAL + change)


def test_a_reward_or_seed_is_named_once(tmp_path: Path) -> None:
    """Two trainings would share a folder."""
    for line in ("seeds = [1, 1]", 'rewards = ["mixed", "mixed"]'):
        with pytest.raises(ConfigurationError, match="names one twice"):
            load(tmp_path, f"{line}\n{REAL}")


def test_the_example_for_gpus_can_be_read() -> None:
    """It is not run here."""
    settings = load_rl(ROOT / "examples" / "rl" / "qwen3_4b.toml")
    assert settings.judges
    assert settings.judges.helpfulness
    assert settings.rollouts.model


def test_the_command_says_what_is_wrong_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As all commands do."""
    config = write_config(tmp_path, toy="judge = 'a'", steps=8)
    assert run(["train", "rl", "--config", str(config)]) == 2
    assert "toy.judge: Input should be 'planted_words'" in capsys.readouterr().err
