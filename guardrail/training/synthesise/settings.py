"""Settings of `synthesise`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from guardrail.training.settings import Count, NotNegative, Positive, Share

Likeness = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True)
class SynthesiseSettings:
    """Settings of `synthesise`; all numbers are ours unless they name their source.

    Attributes:
        generators: names of the models that write prompts, taking turns.
        judge: name of the guard model that must call the two of a pair opposite; empty asks none.
        n_prompts: prompts to make, spread evenly over the subtopics; `--limit` lowers it.
        langs: weight of each language, by its code.
        categories: names of the taxonomy's categories that prompts are made for; none takes all.
        keyword_share: of the prompts that are made for a keyword.
        pair_share: of the prompts that are one of a pair of the same form, harmful and harmless.
        prompts_per_call: that a generator writes at once.
        human_examples: of input rows that a generator is shown (Self-Instruct: 6).
        made_examples: of prompts made before that it is shown (Self-Instruct: 2).
        novelty: ROUGE-L that a new prompt must stay below, to every input prompt and kept one (Self-Instruct: 0.7).
        same_form: ROUGE-L that the two of a pair must reach.
        min_tokens: fewest tokens of a prompt: words, or characters in scripts without spaces.
        max_tokens: most tokens of a prompt.
        round_share: most of a cell's prompts (those of one subtopic, way and language) that one round asks for, but one
            call's at least, so that later rounds have made examples.
        least_new: share of what it was asked for that a cell must bring; below it three times in a row it is given up.
        max_rounds: after which it ends in any case.
        temperature: of the generators.
        top_p: of the generators.
        answer_tokens: most tokens of a generator's answer.
        taxonomy: file of subtopics and keywords; none takes ours.
        prompts: file of what generators are told; none takes ours.
    """

    generators: tuple[str, ...] = ()
    judge: str = ""
    n_prompts: Count = 1000
    langs: dict[str, Positive] = field(default_factory=lambda: {"en": 1.0})
    categories: tuple[str, ...] = ()
    keyword_share: Share = 0.3
    pair_share: Share = 0.4
    prompts_per_call: Count = 5
    human_examples: Annotated[int, Field(ge=0)] = 6
    made_examples: Annotated[int, Field(ge=0)] = 2
    novelty: Likeness = 0.7
    same_form: Likeness = 0.6
    min_tokens: Count = 3
    max_tokens: Count = 150
    round_share: Likeness = 0.25
    least_new: Share = 0.1
    max_rounds: Count = 30
    temperature: NotNegative = 0.9
    top_p: Likeness = 0.95
    answer_tokens: Count = 1024
    taxonomy: Path | None = None
    prompts: Path | None = None
