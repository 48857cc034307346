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


def sft(config: Path, *, resume: Flag = False) -> None:
    """Train the four heads on labelled text.

    Args:
        config: TOML file with the settings of the run.
        resume: go on from the last checkpoint in the run folder.
    """
    from guardrail.training import sft as stage

    stage.main(config, resume=resume)
