"""`guardrail train`: the stages of the training recipe."""

from pathlib import Path

from guardrail.cli.options import Flag


def tokenizer(config: Path) -> None:
    """Train the byte-level BPE tokenizer of a model of one's own.

    Args:
        config: TOML file with the settings.
    """
    from guardrail.training import tokenizer as stage

    stage.main(config)


def pretrain(config: Path, *, resume: Flag = False) -> None:
    """Train the backbone as a language model.

    Args:
        config: TOML file with the settings of the run.
        resume: go on from the last checkpoint in the run folder.
    """
    from guardrail.training import pretrain as stage

    stage.main(config, resume=resume)


def distil(config: Path, *, resume: Flag = False) -> None:
    """Train the backbone to foretell what a sentence encoder says of whole texts.

    Args:
        config: TOML file with the settings of the run.
        resume: go on from the last checkpoint in the run folder.
    """
    from guardrail.training.distil import stage

    stage.main(config, resume=resume)


def teach(config: Path) -> None:
    """Write labelled rows with the soft labels of an ensemble of teachers, none of which has seen the row's family.

    Args:
        config: TOML file with the settings.
    """
    from guardrail.training.teach import stage

    stage.main(config)


def sft(config: Path, *, resume: Flag = False) -> None:
    """Train the four heads on labelled text.

    Args:
        config: TOML file with the settings of the run.
        resume: go on from the last checkpoint in the run folder.
    """
    from guardrail.training import sft as stage

    stage.main(config, resume=resume)


def sft_gen(config: Path, *, resume: Flag = False) -> None:
    """Train a language model to write verdicts as Qwen3Guard-Gen does.

    Args:
        config: TOML file with the settings of the run.
        resume: go on from the last state in the run folder.
    """
    from guardrail.training import sft_gen as stage

    stage.main(config, resume=resume)


def rollouts(config: Path, *, resume: Flag = False) -> None:
    """Choose the prompts that `rl` trains on: those to which some answers of the policy model are safe, and some not.

    `rl` does it itself in one process; started by `accelerate launch`, it wants it done before. A run that was killed
    goes on with `--resume`: no answer is drawn or judged twice.

    Args:
        config: TOML file with the settings of `rl`.
        resume: go on in the run folder.
    """
    from guardrail.training.rl import stage

    stage.rollouts(config, resume=resume)


def rl(config: Path, *, resume: Flag = False) -> None:
    """Train a language model by what the guard says of its answers: GSPO, the rewards `guard_only` and `mixed`.

    ```sh
    guardrail train rl --config examples/rl/toy.toml
    ```

    The run folder has `summary.json` with the figures before and after, and `report.html` with the curves.

    Args:
        config: TOML file with the settings of the run.
        resume: go on from the last state in the run folder, with fresh answers.
    """
    from guardrail.training.rl import stage

    stage.main(config, resume=resume)


def helpfulness(config: Path, *, resume: Flag = False) -> None:
    """Train a model that scores how helpful an answer is: the real answer over another one over a refusal.

    Args:
        config: TOML file with the settings of the run.
        resume: go on from the last state in the run folder.
    """
    from guardrail.training.rewards.learning import stage

    stage.main(config, resume=resume)
