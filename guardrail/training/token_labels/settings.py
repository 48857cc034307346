"""Settings of `token_labels`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TokenLabelsSettings:
    """Settings of `token_labels`; all numbers are ours unless they name their source."""
