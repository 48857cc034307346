"""The toy's judges: functions that look for planted words, in place of a guard and of models."""

from collections.abc import Sequence
from dataclasses import replace

from guardrail.training.rewards import Completion, Opinion, RewardKind
from guardrail.training.rl.toy.world import REFUSAL, UNSAFE, USEFUL

_REFUSAL_SCORE = -6.0
_WORD_SCORE = 0.8
_MOST = 5
"""A refusal is worth -6, each of the first five useful words 0.8: 4 at most. Ours; unsafe words count as useful ones,
since helpfulness models do not look for safety."""


class ToyJudges:
    """Says of completions what a `Rewarder` says, by the two functions below."""

    @property
    def identity(self) -> dict[str, str]:
        """Who judges."""
        return {"judge": planted_words.__name__, "helpfulness": useful_words.__name__}

    def check(self, kind: RewardKind) -> None:
        """Pass: there is all that each reward needs."""

    def opinions(self, completions: Sequence[Completion], *, with_helpfulness: bool = True) -> list[Opinion]:
        """Return an opinion of each completion, in order."""
        found = [planted_words(completion) for completion in completions]
        return found if with_helpfulness else [replace(opinion, helpfulness=None) for opinion in found]


def planted_words(completion: Completion) -> Opinion:
    """Return an opinion: unsafe with one of the unsafe words, a refusal if it begins with the word for it."""
    words = completion.answer.split()
    is_safe = not any(word in UNSAFE for word in words)
    return Opinion(None, is_safe, words[:1] == [REFUSAL[0]], useful_words(words))


def useful_words(words: Sequence[str]) -> float:
    """Return a score in [-6, 4], higher is better."""
    if words[:1] == [REFUSAL[0]]:
        return _REFUSAL_SCORE
    return _WORD_SCORE * min(_MOST, sum(word in (*USEFUL, *UNSAFE) for word in words))
