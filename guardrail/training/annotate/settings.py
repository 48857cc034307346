"""Settings of `annotate`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from guardrail.training.settings import Count, Positive, Share

Aggregate = Literal["majority", "weighted", "dawid_skene", "calibrated", "stacked"]
"""How votes are put together; see `aggregates.py`."""

AGGREGATES: tuple[Aggregate, ...] = get_args(Aggregate)


@dataclass(frozen=True)
class AnnotatorSettings:
    """One voice of the panel.

    Attributes:
        model: its name in the recipe; empty: the annotator's own name. A model may speak with several voices, each with
            prompts of its own.
        kind: "llm": a chat model, told the policy by our prompts, answers in JSON; "guard": a model of kind "guard", or
            Qwen3Guard-Gen at an endpoint, which knows its policy.
        prompts: file to use for an "llm" instead of ours.
    """

    model: str = ""
    kind: Literal["llm", "guard"] = "llm"
    prompts: Path | None = None


@dataclass(frozen=True)
class AnnotateSettings:
    """Settings of `annotate`; all numbers are ours unless they name their source.

    Attributes:
        annotators: the panel, by name; two at the least.
        votes_for: rows that are voted on, besides those that people labelled: the ones without a risk level, or all.
        overwrite: whether the votes replace labels of sources; people's labels stay. Needs votes for all rows.
        aggregate: how the votes become a risk level. "majority" is the technical report's voting; the rest is ours.
            Take "stacked" where annotators are of one family and people labelled several hundred rows.
        tune: whether the risk levels are weighed so that the F1 on one half of people's labels is best; the report's
            voting was tuned, without a word on how.
        min_votes: fewest votes that make a label; a row with fewer is left without one, to be reviewed.
        smoothing: votes that are added to each cell of an annotator's confusion.
        dawid_skene_rows: most rows that the confusions of "dawid_skene" are found on, drawn by the recipe's seed.
        min_human_rows: with fewer of people's labels on either half, the report warns; a kind of text (prompts,
            answers) with fewer is weighed by what is known of both.
        target_f1: macro F1 that the lower end of the interval should reach; the technical report's 0.9, whose averaging
            it does not say.
        max_tokens: most tokens of an annotator's answer.
    """

    annotators: dict[str, AnnotatorSettings] = field(default_factory=dict)
    votes_for: Literal["unlabelled", "all"] = "unlabelled"
    overwrite: bool = False
    aggregate: Aggregate = "calibrated"
    tune: bool = True
    min_votes: Count = 2
    smoothing: Positive = 1.0
    dawid_skene_rows: Count = 50_000
    min_human_rows: Count = 100
    target_f1: Share = 0.9
    max_tokens: Count = 256
