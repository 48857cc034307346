"""Settings of `annotate`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AnnotateSettings:
    """Settings of `annotate`; all numbers are ours unless they name their source."""
