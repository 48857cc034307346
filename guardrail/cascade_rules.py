"""When a cascade asks its strong model: part of a policy."""

from dataclasses import dataclass

from guardrail.actions import check_count, check_threshold
from guardrail.errors import PolicyError
from guardrail.verdict import Verdict


@dataclass(frozen=True, slots=True)
class CascadeRules:
    """When the verdict of a cascade's cheap model is too uncertain to stand.

    Attributes:
        low: least probability of harm (Controversial + Unsafe), in [0, 1], at which the strong model is asked.
        high: most; beyond it the cheap model is believed.
        grace_tokens: tokens behind a place that the strong model cleared at which it is not asked again. Until then
            what the cheap model is uncertain of counts as cleared; what it is sure of does not.
    """

    low: float = 0.1
    high: float = 0.9
    grace_tokens: int = 8

    def __post_init__(self) -> None:
        check_threshold("cascade.low", self.low)
        check_threshold("cascade.high", self.high)
        if self.low > self.high:
            raise PolicyError(f"cascade: low = {self.low} is above high = {self.high}")
        if self.grace_tokens != 0:
            check_count("cascade.grace_tokens", self.grace_tokens)

    def is_sure_of_harm(self, verdict: Verdict) -> bool:
        """Whether the cheap model's verdict stands, whatever else is found."""
        return verdict.non_safe_probability > self.high

    def doubts(self, verdict: Verdict) -> bool:
        """Whether the strong model is to be asked."""
        return self.low <= verdict.non_safe_probability <= self.high
