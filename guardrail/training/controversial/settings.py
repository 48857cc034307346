"""Settings of `controversial`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ControversialSettings:
    """Settings of `controversial`; all numbers are ours unless they name their source."""
