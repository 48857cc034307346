"""Settings of `relabel`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RelabelSettings:
    """Settings of `relabel`; all numbers are ours unless they name their source."""
