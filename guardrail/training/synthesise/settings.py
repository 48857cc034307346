"""Settings of `synthesise`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SynthesiseSettings:
    """Settings of `synthesise`; all numbers are ours unless they name their source."""
