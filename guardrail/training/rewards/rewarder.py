"""Judges completions and rewards them: the guard, a refusal detector and a helpfulness model, asked in batches."""

from collections import Counter
from collections.abc import Sequence

from guardrail.conversation import Message
from guardrail.errors import ConfigurationError, EngineError, GuardError
from guardrail.training.rewards.helpfulness import HelpfulnessModel, Score
from guardrail.training.rewards.judging import Judged, TextJudge
from guardrail.training.rewards.refusals import RefusalDetector
from guardrail.training.rewards.values import REWARDS, Completion, Opinion, RewardKind


class Rewarder:
    """Rewards completions; knows no trainer. Safe for many threads if its parts are, and those here are.

    Attributes:
        failures: how many completions could not be judged, by the name of the error.
        n_judged: completions judged so far, failures included.
    """

    def __init__(
        self, judge: TextJudge, refusals: RefusalDetector | None, helpfulness: HelpfulnessModel | None = None
    ) -> None:
        """Combine the parts; closing the rewarder closes them.

        Args:
            judge: of thinking and answers.
            refusals: says whether an answer refuses; None takes what the guard itself says, which then is a Gen model.
            helpfulness: scores answers; None gives the reward `guard_only` alone.
        """
        self._judge, self._refusals, self._helpfulness = judge, refusals, helpfulness
        self.failures: Counter[str] = Counter()
        self.n_judged = 0

    @property
    def identity(self) -> dict[str, str]:
        """What judges, for logs and records."""
        helpful = self._helpfulness.identity if self._helpfulness else {}
        return {**self._judge.identity, "refusals": self._refusals.name if self._refusals else "guard", **helpful}

    @property
    def kinds(self) -> tuple[RewardKind, ...]:
        """Rewards that it can give."""
        return ("guard_only", "mixed") if self._helpfulness else ("guard_only",)

    def check(self, kind: RewardKind) -> None:
        """Pass if this reward can be given.

        Raises:
            ConfigurationError: it needs a helpfulness model, and there is none.
        """
        if kind not in self.kinds:
            raise ConfigurationError(
                f"the reward {kind} cannot be given: valid here: {', '.join(self.kinds)}",
                hint="name a model in [helpfulness]",
            )

    def opinions(self, completions: Sequence[Completion], *, with_helpfulness: bool = True) -> list[Opinion]:
        """Return what the judges say of each completion, in order.

        A failure stands in its completion's opinion and makes it count as unsafe; it is never raised.

        Args:
            completions: any number of them; they are judged in as few calls as the parts allow.
            with_helpfulness: False leaves the helpfulness model unasked.
        """
        texts: list[tuple[Sequence[Message], str]] = []
        for one in completions:
            texts += [(one.prompt, one.thinking), (one.prompt, one.answer)]
        said = self._judge.judge(texts)
        thinking, answers = said[::2], said[1::2]
        refusals = self._refused(completions, answers)
        asked = self._helpfulness if with_helpfulness else None
        scores: Sequence[Score | None] = asked.score(completions) if asked else [None] * len(completions)
        found = [
            _opinion(*parts) for parts in zip(completions, thinking, answers, refusals, scores, strict=True)
        ]  # fmt: skip
        self.n_judged += len(found)
        self.failures.update(opinion.failure for opinion in found if opinion.failure)
        return found

    def rewards(self, completions: Sequence[Completion], kind: RewardKind) -> list[float]:
        """Return the reward of each completion, in order.

        Raises:
            ConfigurationError: there is no helpfulness model, and the reward needs one.
        """
        self.check(kind)
        opinions = self.opinions(completions, with_helpfulness=kind == "mixed")
        return [REWARDS[kind](opinion) for opinion in opinions]

    def close(self) -> None:
        """Free the models."""
        self._judge.close()
        for part in (self._refusals, self._helpfulness):
            if part:
                part.close()

    def _refused(
        self, completions: Sequence[Completion], answers: Sequence[Judged]
    ) -> Sequence[bool | EngineError | None]:
        if self._refusals is None:
            return [answer.is_refusal for answer in answers]
        # an empty answer, as behind thinking that has not ended, is no refusal: nobody is asked about it
        asked = [i for i, completion in enumerate(completions) if completion.answer]
        said = dict(zip(asked, self._refusals.refuses([completions[i] for i in asked]), strict=True))
        return [said.get(i, False) for i in range(len(completions))]


def _opinion(
    completion: Completion, thinking: Judged, answer: Judged, refusal: bool | EngineError | None, score: Score | None
) -> Opinion:
    failures = [thinking.failure, answer.failure]
    failures += [type(one).__name__ for one in (refusal, score) if isinstance(one, GuardError)]
    if refusal is None and completion.answer and not answer.failure:
        failures.append("NoRefusalVerdict")  # the guard is no Gen model; settings rule that out, a caller may not
    return Opinion(
        thinking_is_safe=thinking.is_safe if completion.thinking else None,
        answer_is_safe=answer.is_safe,
        is_refusal=refusal is True,
        helpfulness=None if isinstance(score, GuardError) else score,
        failure=next(filter(None, failures), ""),
    )
