"""Settings of `translate`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TranslateSettings:
    """Settings of `translate`; all numbers are ours unless they name their source."""
