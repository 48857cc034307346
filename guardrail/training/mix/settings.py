"""Settings of `mix`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MixSettings:
    """Settings of `mix`; all numbers are ours unless they name their source."""
