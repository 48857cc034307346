"""Settings of `guardrail train distil`; all numbers are ours."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from guardrail.training.examples import Source
from guardrail.training.pretrain import Shape
from guardrail.training.settings import Count, NotNegative, Positive, Seed, Share


@dataclass(frozen=True)
class EncoderSettings:
    """The sentence encoder that is distilled.

    Attributes:
        model: folder or hub id of a transformers encoder whose sentence vector is the mean of its last states.
        revision: commit on the hub; empty takes the newest.
        prefix: what the encoder wants before each text, such as "query: ".
        max_tokens: most tokens of a text; of longer ones the first two thirds and the last are read.
        batch_tokens: padded tokens a call.
    """

    model: str
    revision: str = ""
    prefix: str = ""
    max_tokens: Annotated[int, Field(ge=8)] = 128
    batch_tokens: Count = 6144


@dataclass(frozen=True)
class DistilSettings:
    """Settings of `distil`.

    Attributes:
        data_dir: folder of the files.
        files: file of plain documents -> units of one to a few sentences taken from it.
        sources: labelled file -> how it is used; their texts are learned from, their labels are not.
        unseen: labelled files whose texts must not be learned from: units that hold one are left out.
        tokenizer: tokenizer.json.
        output: run folder; the checkpoint lands in its folder `checkpoint`.
        encoder: what is distilled.
        shape: sizes of the model.
        epochs: passes over the texts.
        batch_tokens: padded tokens a step.
        max_length: most tokens of a text; of longer ones the first two thirds and the last are read.
        learning_rate: peak.
        weight_decay: of matrices, but for the embedding.
        warmup: share of the run.
        token_noise: share of a text's tokens replaced by random ones.
        embedding_rms: size of the token vectors that training starts from, which the encoder's vectors of single tokens
            give by principal components; 0 starts from random ones.
        seed: of selection, order and noise.
        save_minutes: time between checkpoints.
        threads: of torch.
        compile: whether to compile the backbone.
    """

    data_dir: Path
    files: dict[str, Count]
    sources: dict[str, Source]
    tokenizer: Path
    output: Path
    encoder: EncoderSettings
    shape: Shape
    unseen: tuple[str, ...] = ()
    epochs: Positive = 2
    batch_tokens: Count = 8192
    max_length: Annotated[int, Field(ge=16)] = 160
    learning_rate: Positive = 1.5e-3
    weight_decay: NotNegative = 0.05
    warmup: Share = 0.03
    token_noise: Share = 0.05
    embedding_rms: NotNegative = 0.15
    seed: Seed = 1
    save_minutes: NotNegative = 5
    threads: Count = 2
    compile: bool = False
