"""Settings of `respond`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from guardrail.training.settings import Count, NotNegative, Share

Mode = Literal["instruct", "refuse", "base", "reasoning"]
"""How a model answers: as a chat; as a chat told to refuse; by continuing a transcript; as a chat whose thinking is
kept, apart from the answer."""

Cut = Literal["keep", "drop"]


@dataclass(frozen=True)
class AnswererSettings:
    """A model that answers; all numbers are ours: the report names models, not how they were sampled.

    Attributes:
        model: its name in the recipe.
        mode: see `Mode`.
        name: stands in the ids of its answers; empty takes the model's. Two answerers cannot share one.
        samples: answers to each prompt.
        share: of the chosen prompts that it answers; pair partners together.
        temperature: of sampling; several samples need one above 0.
        top_p: of sampling.
        max_tokens: most tokens of an answer; thinking counts.
    """

    model: str
    mode: Mode = "instruct"
    name: str = ""
    samples: Count = 1
    share: Share = 1.0
    temperature: NotNegative = 0.8
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    max_tokens: Count = 1024

    @property
    def label(self) -> str:
        """What it is called in ids and counts."""
        return self.name or self.model


@dataclass(frozen=True)
class RespondSettings:
    """Settings of `respond`; all numbers are ours unless they name their source.

    Attributes:
        answerers: the models, in the order in which a prompt's answers follow it.
        share: of the prompts that are answered; pair partners are both answered or neither.
        langs: language codes of the prompts that are answered; none takes all.
        sources: sources of the prompts that are answered; none takes all.
        cut: what becomes of answers that were cut off at `max_tokens`.
        stop: texts that end a base model's answer; they go with the transcript of the prompts file.
        prompts: file of prompts; none takes ours.
    """

    answerers: tuple[AnswererSettings, ...] = ()
    share: Share = 1.0
    langs: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    cut: Cut = "keep"
    stop: tuple[str, ...] = ("\nUser:", "\n---")
    prompts: Path | None = None
