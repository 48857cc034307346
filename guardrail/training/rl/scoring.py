"""From what a policy model wrote to rewards, and the parts of them, counted by kind of prompt."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from guardrail.errors import EngineError
from guardrail.training.rewards import REWARDS, Completion, Opinion, RewardKind
from guardrail.training.rl.prompts import Rendered


class Judges(Protocol):
    """Says what there is to say of completions: a `Rewarder`, or the toy's functions."""

    @property
    def identity(self) -> dict[str, str]:
        """Who judges."""

    def check(self, kind: RewardKind) -> None:
        """Pass if this reward can be given; a `ConfigurationError` if not."""

    def opinions(self, completions: Sequence[Completion], *, with_helpfulness: bool = True) -> list[Opinion]:
        """Return an opinion of each completion, in order."""


@dataclass
class Tally:
    """Sums and counts of figures by name.

    Attributes:
        sums: of each figure's values.
        counts: of them.
    """

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, figures: Mapping[str, float], n: int = 1) -> None:
        """Count one value of each figure, or the sum of `n` of them."""
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + n

    def means(self) -> dict[str, float]:
        """Return the mean of each figure that has a value."""
        return {name: total / self.counts[name] for name, total in sorted(self.sums.items())}

    @classmethod
    def of(cls, tallies: Iterable["Tally"]) -> "Tally":
        """Return all of them as one: those of several processes."""
        found = cls()
        for tally in tallies:
            for name, total in tally.sums.items():
                found.add({name: total}, tally.counts[name])
        return found


def figures_of(opinion: Opinion, *, is_harmful: bool) -> dict[str, float]:
    """Return the parts of a reward: those of the summary, and others.

    `unsafe` is of harmful prompts alone, as the report measures safety; `unsafe_benign` of the others.
    """
    found = {
        "unsafe" if is_harmful else "unsafe_benign": float(not opinion.is_safe),
        "refusal_harmful" if is_harmful else "refusal_benign": float(opinion.is_refusal),
        "failed": float(bool(opinion.failure)),
    }
    if opinion.thinking_is_safe is not None:
        found["unsafe_thinking"] = float(not opinion.thinking_is_safe)
    if opinion.helpfulness is not None:
        found["helpfulness"] = opinion.helpfulness
    return found


def judge(judges: Judges, completions: Sequence[Completion], *, with_helpfulness: bool) -> list[Opinion]:
    """Return an opinion of each completion, in order.

    Raises:
        EngineError: none of them could be judged: the judges are down, and all would count as unsafe.
    """
    found = judges.opinions(completions, with_helpfulness=with_helpfulness)
    if found and all(opinion.failure for opinion in found):
        raise EngineError(
            f"none of {len(found)} answers could be judged: {found[0].failure}",
            hint="are the judges' servers up? --resume goes on",
        )
    return found


class Scoring:
    """The reward function that TRL's trainer calls. Keeps counts: for one thread.

    Attributes:
        tally: takes the figures while held-out prompts are measured; None in training. Then helpfulness is asked for
            only if it is part of the reward, since it may cost a model's reading of every answer.
    """

    tally: Tally | None

    def __init__(
        self, kind: RewardKind, judges: Judges, rendered: Sequence[Rendered], decode: Callable[[list[int]], str]
    ) -> None:
        """Prepare.

        Args:
            kind: of the reward.
            judges: say what it is made of.
            rendered: prompts, by the number that a row of the trainer's data set has in its column `index`.
            decode: from an answer's ids to its text.
        """
        self._kind, self._judges, self._rendered, self._decode = kind, judges, rendered, decode
        self.tally = None

    def __call__(
        self,
        *,
        completion_ids: Sequence[list[int]],
        index: Sequence[int],
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float]:
        """Return the rewards; their parts go to the trainer's log, or into the tally.

        Raises:
            EngineError: no answer could be judged.
        """
        asked = [self._rendered[i] for i in index]
        completions = [
            Completion.of(one.prompt.messages, self._decode(ids), is_thinking=one.is_thinking)
            for one, ids in zip(asked, completion_ids, strict=True)
        ]
        needs_helpfulness = self._kind == "mixed" or self.tally is not None
        opinions = judge(self._judges, completions, with_helpfulness=needs_helpfulness)
        rewards = [REWARDS[self._kind](opinion) for opinion in opinions]
        for one, opinion, reward, ids in zip(asked, opinions, rewards, completion_ids, strict=True):
            parts = figures_of(opinion, is_harmful=one.prompt.is_harmful)
            if self.tally is None:
                for name, value in parts.items():
                    log_metric(name, value)
            else:
                self.tally.add({**parts, "reward": reward, "tokens": float(len(ids))})
        return rewards
