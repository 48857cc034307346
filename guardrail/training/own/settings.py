"""What a run is told, kept beside its files, so that a killed one goes on as it began."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, TypeAdapter, ValidationError

from guardrail.errors import ConfigurationError
from guardrail.file_hash import hash_file
from guardrail.loader import EMBEDDED
from guardrail.training.examples import LEAST_LENGTH
from guardrail.training.settings import Count, NotNegative, Positive, Seed, Share
from guardrail.whole_files import write_whole

_KEPT = "own.json"


@dataclass(frozen=True)
class OwnSettings:
    """Settings of a run; all numbers are ours, chosen with examples/own_policy.

    Attributes:
        start: what to start from: "default" (embedded), a checkpoint folder, an exported folder or a hub id.
        only_own: give up the categories that the start has and the rows do not name.
        tune: "full" trains all weights, "lora" small matrices beside them and the heads, "heads" the heads alone.
        epochs: passes over the training rows.
        learning_rate: peak, of the backbone.
        head_learning_rate: peak, of the heads.
        weight_decay: of matrices.
        token_noise: share of tokens replaced by random ones in training.
        mix: whether rows that join two halves are trained on besides; see `mixing.py`.
        batch_tokens: padded tokens a step.
        max_length: most tokens of a row; the middle of longer ones is left out.
        held_out: share of the rows that the result is measured on.
        thresholds: share of the rows that the thresholds are chosen on.
        target_fpr: share of harmless rows that may be flagged.
        precision: of the export's weights.
        seed: of the split and of the training.
        threads: of torch.
    """

    start: str = EMBEDDED
    only_own: bool = False
    tune: Literal["full", "lora", "heads"] = "full"
    epochs: Positive = 6
    learning_rate: Positive = 1e-3
    head_learning_rate: Positive = 3e-3
    weight_decay: NotNegative = 0.05
    token_noise: Share = 0.1
    mix: bool = True
    batch_tokens: Count = 512
    max_length: Annotated[int, Field(ge=LEAST_LENGTH)] = 512
    held_out: Annotated[float, Field(gt=0, lt=0.5)] = 0.2
    thresholds: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    target_fpr: Annotated[float, Field(gt=0, lt=1)] = 0.05
    precision: str = "int8"
    seed: Seed = 1
    threads: Count = 2

    def checked(self) -> "OwnSettings":
        """Return these settings.

        Raises:
            ConfigurationError: a value is beyond its range.
        """
        try:
            return TypeAdapter(OwnSettings).validate_python(asdict(self), strict=False)
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigurationError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error

    def sft(self, output: Path) -> str:
        """Return the settings of the fine-tuning, as TOML, for a run in `output`."""
        values = {
            "data_dir": str(output / "rows"), "start": str(output / "start"), "output": str(output / "training"),
            **{name: getattr(self, name) for name in _SHARED},
            "bf16": torch.cuda.is_available(),  # without hardware for it, it takes half as long again
        }  # fmt: skip
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        head = "# Written by `guardrail train own`: the fine-tuning of this run."
        sources = [f'[sources."{name}"]' for name in ("training.jsonl", *(["mixed.jsonl"] if self.mix else []))]
        return "\n".join([head, *lines, "", *sources, ""])


_SHARED = (
    "tune", "epochs", "learning_rate", "head_learning_rate", "weight_decay", "token_noise", "batch_tokens",
    "max_length", "seed", "threads",
)  # fmt: skip
"""What the fine-tuning calls by the same name."""


def begin(output: Path, rows: Path, settings: OwnSettings, *, resume: bool) -> None:
    """Begin a run in a folder, or go on with it.

    Raises:
        ConfigurationError: the folder holds a run and `resume` is False, a run of other rows or settings, or something
            else.
    """
    asked = {"rows_sha256": hash_file(rows), **asdict(settings)}
    kept = output / _KEPT
    if not kept.exists():
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise ConfigurationError(f"{output} holds something else", hint="give a new folder as --output")
        output.mkdir(parents=True, exist_ok=True)
        write_whole(kept, json.dumps(asked, indent=1).encode() + b"\n")
        return
    if not resume:
        raise ConfigurationError(f"{output} holds a run", hint="--resume continues it; another --output starts anew")
    _check_same(output, json.loads(kept.read_text("utf-8")), asked)


def _check_same(output: Path, kept: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    different = [name for name in asked if kept.get(name) != asked[name]]
    if different:
        name = "rows" if different[0] == "rows_sha256" else different[0]
        raise ConfigurationError(
            f"{output} was begun with other {name}", hint="take the same file and options, or another --output"
        )
