"""Settings of `respond`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RespondSettings:
    """Settings of `respond`; all numbers are ours unless they name their source."""
