"""Settings of the toy world; all numbers are ours."""

from dataclasses import dataclass
from typing import Literal

from guardrail.training.settings import Count, Positive, Seed, Share


@dataclass(frozen=True)
class ToySettings:
    """What stands in place of policy model, prompts and judges.

    Attributes:
        judge: of safety and refusals: "planted_words" is `judges.planted_words`, which looks for two unsafe words and
            for one that begins a refusal.
        helpfulness: "useful_words" is `judges.useful_words`, which counts.
        refusal_harmful: share of harmful prompts that the policy model is taught to refuse.
        refusal_benign: share of benign ones.
        unsafe_word_harmful: share of the words that are unsafe in its answers to harmful prompts.
        unsafe_word_benign: share in its answers to benign ones.
        prompts: of each kind, to train on.
        held_out: of each kind, to measure on.
        warm_steps: steps in which the policy model is taught to answer like that, before any reward.
        warm_learning_rate: of these.
        seed: of prompts and of the policy model's teaching; runs of all seeds start from the same one.
    """

    judge: Literal["planted_words"] = "planted_words"
    helpfulness: Literal["useful_words"] = "useful_words"
    refusal_harmful: Share = 0.17
    refusal_benign: Share = 0.03
    unsafe_word_harmful: Share = 0.1
    unsafe_word_benign: Share = 0.03
    prompts: Count = 48
    held_out: Count = 32
    warm_steps: Count = 300
    warm_learning_rate: Positive = 3e-3
    seed: Seed = 1
