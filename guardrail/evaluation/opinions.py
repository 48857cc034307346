"""Judges that say less than a guard: a label, a score, or both. The policy is applied to what they say."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from guardrail.decision import Direction
from guardrail.errors import ConfigurationError, EngineError
from guardrail.evaluation.judges import RISKS, Judgement, judge_verdict
from guardrail.evaluation.rows import Row
from guardrail.policy import Policy, Rules
from guardrail.taxonomy import LabelSet, RiskLevel, category_name
from guardrail.verdict import Verdict

_UNNAMED = "unnamed"
"""Stands for the kind of harm where a judge names none: a label set must name one."""

_GRAVEST_FIRST = (RiskLevel.UNSAFE, RiskLevel.CONTROVERSIAL, RiskLevel.SAFE)
"""Of levels that are equally probable the first wins: a score of one half is Unsafe, as where thresholds decide."""

_LEVELS = {level.value.lower(): level for level in RiskLevel}

Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Opinion:
    """What such a judge says about a row: at least one of level, score and probabilities.

    Attributes:
        level: that it names.
        score: probability of harm in [0, 1]; higher is riskier.
        category: kind of harm that it names.
        refusal: whether it says that the answer refuses.
        probabilities: of Safe, Controversial and Unsafe, in [0, 1].
    """

    level: RiskLevel | None = None
    score: float | None = None
    category: str | None = None
    refusal: bool | None = None
    probabilities: tuple[float, float, float] | None = None


def judged(opinion: Opinion, rules: Rules) -> Judgement:
    """Return what rules make of an opinion.

    A level that is named stands, as if it were certain; the score then ranks alone: without one, the probabilities'
    sum of Controversial and Unsafe, and without these Safe has 0, Controversial 0.5 and Unsafe 1. Where no level is
    named, the rules read the probabilities, or the score as the probability of Unsafe.
    """
    found = judge_verdict(Verdict(_labels(opinion), _vector(opinion), (1.0,)), rules)
    category = None if found.category == _UNNAMED else found.category
    return replace(
        found, score=_score(opinion, found), category=category, refusal=opinion.refusal,
        probabilities=opinion.probabilities,
    )  # fmt: skip


def _score(opinion: Opinion, found: Judgement) -> float:
    if opinion.score is not None:
        return opinion.score
    if opinion.probabilities is not None:
        return min(1.0, opinion.probabilities[1] + opinion.probabilities[2])
    return found.score if opinion.level is None else opinion.level.rank / 2


def _labels(opinion: Opinion) -> LabelSet:
    return LabelSet(_GRAVEST_FIRST, (opinion.category or _UNNAMED,))


def _vector(opinion: Opinion) -> tuple[float, ...]:
    if opinion.level is not None:
        shares = {opinion.level: 1.0}
    elif opinion.probabilities is not None:
        shares = dict(zip(RISKS, opinion.probabilities, strict=True))
    else:
        score = opinion.score or 0.0
        shares = {RiskLevel.SAFE: 1 - score, RiskLevel.UNSAFE: score}
    return tuple(shares.get(level, 0.0) for level in _GRAVEST_FIRST)


def _to_level(value: Any) -> Any:
    return _LEVELS.get(value.lower(), value) if isinstance(value, str) else value


class _Said(BaseModel):
    """An opinion as a mapping."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", hide_input_in_errors=True)

    risk: Annotated[RiskLevel | None, BeforeValidator(_to_level)] = None
    score: Probability | None = None
    category: str | None = None
    refusal: bool | None = None
    probabilities: tuple[Probability, Probability, Probability] | None = None


def to_opinion(value: object) -> Opinion:
    """Return the opinion that a function or a service gave: a truth value (harmful or not), a level's name, a score, or
    a mapping with `risk`, `score`, `category`, `refusal` and `probabilities`, of which all but one may be missing.

    Raises:
        ValueError: it is nothing of these; the message holds keys and reasons, never the value.
    """
    if isinstance(value, Opinion):
        return value
    if isinstance(value, bool | np.bool_):
        return Opinion(RiskLevel.UNSAFE if value else RiskLevel.SAFE)
    if isinstance(value, str):
        value = {"risk": value}
    elif isinstance(value, Real):
        value = {"score": float(value)}
    if not isinstance(value, Mapping):
        raise ValueError(f"a {type(value).__name__} is neither a truth value, a level, a score nor a mapping")
    try:
        said = _Said.model_validate(dict(value))
    except ValidationError as error:
        raise ValueError("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())) from None
    if said.risk is None and said.score is None and said.probabilities is None:
        raise ValueError("neither risk, score nor probabilities are given")
    if said.probabilities and not math.isclose(sum(said.probabilities), 1, abs_tol=1e-3):
        raise ValueError("probabilities: they do not sum to 1")
    category = category_name(said.category) if said.category else None
    return Opinion(said.risk, said.score, category, said.refusal, said.probabilities)


Ask = Callable[[Sequence[Row]], Sequence[object]]
"""From rows to what `to_opinion` reads, one a row; raises EngineError where it cannot."""


class OpinionJudge:
    """Whatever gives opinions, as a judge under a policy. As safe for many threads as what it asks."""

    def __init__(self, ask: Ask, policy: Policy, *, name: str, identity: dict[str, str], batch_size: int = 1) -> None:
        """Combine what is asked with a policy, whose debounce means nothing for a single verdict.

        Args:
            ask: gives the opinions.
            policy: what is done about them.
            name: shown in tables.
            identity: what ran, as far as it is known; completed here, and by what is asked where it learns more.
            batch_size: rows asked about at once.
        """
        self.name, self.batch_size = name, batch_size
        self.identity = identity
        identity |= {"policy": policy.name, "policy_sha256": policy.sha256}
        self._ask = ask
        self._rules = {Direction.PROMPT: policy.prompt, Direction.RESPONSE: policy.response}

    def judge(self, rows: Sequence[Row]) -> list[Judgement]:
        """Judge the rows at once; see `Judge.judge`.

        Raises:
            ConfigurationError: what came back is no opinion: whoever wrote the judge has to mend it.
        """
        said = self._ask(rows)
        if len(said) != len(rows):
            raise EngineError(f"{self.name} gave {len(said)} answers on {len(rows)} rows")
        try:
            opinions = [to_opinion(one) for one in said]
        except ValueError as error:
            raise ConfigurationError(f"{self.name} gave an answer that cannot be read: {error}") from None
        return [judged(one, self._rules[row.target]) for one, row in zip(opinions, rows, strict=True)]
