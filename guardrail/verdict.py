"""What the model said: full probability vectors, read by name. What to do about it is policy."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from guardrail.taxonomy import LabelSet, RiskLevel


@dataclass(frozen=True, slots=True)
class Speaker:
    """Which model said it.

    Attributes:
        model: its name.
        model_sha256: hash of its weights; empty where that is not known.
        engine: that ran it.
        precision: of its weights.
    """

    model: str
    model_sha256: str
    engine: str
    precision: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the model said about a prompt or at one token.

    Attributes:
        labels: meaning of the two vectors' indices.
        risk_vector: probability of each risk level, in [0, 1], summing to 1, indexed as `labels.risks`; every reader
            rounds them to float32, so that records hold exactly what was decided on.
        category_vector: probability of each category given that there is harm, indexed as `labels.categories`.
        refusal: whether the answer refuses the request; None where the model does not say.
        is_scored: whether the vectors were measured; else the model only named its labels, and the vectors stand in:
            1 for the level it named.
        speaker: who said it, where that is not the guard's own model.
    """

    labels: LabelSet
    risk_vector: tuple[float, ...]
    category_vector: tuple[float, ...]
    refusal: bool | None = None
    is_scored: bool = True
    speaker: Speaker | None = None

    @property
    def risk(self) -> RiskLevel:
        """The most probable level (argmax, as published; the first index wins a tie)."""
        return self.labels.risks[_argmax(self.risk_vector)]

    @property
    def top_category(self) -> str:
        """The most probable category, whatever the risk."""
        return self.labels.categories[_argmax(self.category_vector)]

    @property
    def category(self) -> str | None:
        """The most probable category; None when the risk is Safe, since the head always names something."""
        return None if self.risk is RiskLevel.SAFE else self.top_category

    @property
    def risk_probabilities(self) -> dict[str, float]:
        """Probability in [0, 1] by risk level name."""
        return {level.value: p for level, p in zip(self.labels.risks, self.risk_vector, strict=True)}

    @property
    def category_probabilities(self) -> dict[str, float]:
        """Probability in [0, 1] by category name."""
        return dict(zip(self.labels.categories, self.category_vector, strict=True))

    def probability(self, level: RiskLevel) -> float:
        """Probability of one level, in [0, 1]."""
        return self.risk_vector[self.labels.risks.index(level)]

    @property
    def non_safe_probability(self) -> float:
        """Probability of Controversial or Unsafe, in [0, 1]; higher is riskier."""
        return self.probability(RiskLevel.CONTROVERSIAL) + self.probability(RiskLevel.UNSAFE)


@dataclass(frozen=True, slots=True)
class TokenVerdict:
    """The verdict at one content token, or on a longer piece of the text, with its place.

    Attributes:
        verdict: what the response heads said at this token.
        index: number of the token among the judged content tokens, from 0.
        start: first character of the token in the raw text (Python str, half-open).
        end: one past its last character. Tokens that share one character (its UTF-8 bytes) share its span; one that
            also holds characters before it reaches back over them.
        complete: whether the last character of the span ends with this token; False while later tokens
            carry more bytes of it.
        is_whole: whether all of the text up to here was judged, not this token as it stands there: one such verdict is
            as good as a run.
    """

    verdict: Verdict
    index: int
    start: int
    end: int
    complete: bool = True
    is_whole: bool = False

    @property
    def risk(self) -> RiskLevel:
        """The most probable level at this token."""
        return self.verdict.risk

    @property
    def category(self) -> str | None:
        """The most probable category at this token; None when the risk is Safe."""
        return self.verdict.category

    @property
    def risk_probabilities(self) -> dict[str, float]:
        """Probability in [0, 1] by risk level name."""
        return self.verdict.risk_probabilities

    @property
    def category_probabilities(self) -> dict[str, float]:
        """Probability in [0, 1] by category name."""
        return self.verdict.category_probabilities


def rounded(vector: Sequence[float]) -> tuple[float, ...]:
    """Return probabilities as float32 holds them."""
    return tuple(array("f", vector))


def _argmax(vector: Sequence[float]) -> int:
    return max(range(len(vector)), key=vector.__getitem__)
