"""Settings of `guardrail train teach`; all numbers are ours."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from guardrail.training.distil.settings import EncoderSettings
from guardrail.training.examples import Source
from guardrail.training.settings import Count, Positive, Seed

Member = Literal["words", "encoder"]


@dataclass(frozen=True)
class TeachSettings:
    """Settings of `teach`.

    Attributes:
        data_dir: folder of the labelled files.
        sources: file name -> how it is used; `repeat` and `prompt_is_safe` are the student's affair.
        output: folder for the files with soft labels and the figures.
        units: folder of a distillation by the same encoder, whose texts are taught too, if any: those that no row
            has. They go to `units.jsonl.gz`, as Safe rows if they are from plain documents, else without a label;
            their vectors are taken from there.
        vectors: folder for the encoder's vectors, which runs may share; by default the folder `vectors` in `output`.
        members: kinds of teachers, whose logits are averaged: "words" counts n-grams, "encoder" reads vectors.
        encoder: the sentence encoder of that member.
        folds: teachers of each kind; a row is taught by the one that has not seen its family.
        strength: inverse strength of the L2 penalty of teachers that read vectors.
        source_power: rows of a source and level weigh as how many there are to this power; -1 lets all sources count
            the same, 0 all rows.
        seed: of selection, order and networks.
        threads: of torch.
    """

    data_dir: Path
    sources: dict[str, Source]
    output: Path
    units: Path | None = None
    vectors: Path | None = None
    encoder: EncoderSettings | None = None
    members: Annotated[tuple[Member, ...], Field(min_length=1)] = ("words", "encoder")
    folds: Annotated[int, Field(ge=2)] = 5
    strength: Positive = 0.3
    source_power: Annotated[float, Field(ge=-1, le=0)] = -0.5
    seed: Seed = 1
    threads: Count = 2
