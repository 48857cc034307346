"""Settings of `mix`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from guardrail.training.settings import Share

Most = Annotated[int, Field(ge=0)]
Likeness = Annotated[float, Field(ge=0.1, le=1)]
"""Below 0.1 nearly all texts of a language are near duplicates: that is a slip. Our choice."""

DIMENSIONS = ("lang", "category", "risk", "source", "target")
"""What the mix can be balanced by, in the order in which it is."""

OTHERS = "*"
"""Stands for every value that is not named, each by itself."""


@dataclass(frozen=True)
class Caps:
    """Most rows of each value of a dimension, by the value's name; "*" is every value that is not named.

    Attributes:
        lang: by language code.
        category: by canonical name; a row counts for the first of its categories, and for "none" without one.
        risk: "safe", "controversial", "unsafe", or "none" without a label.
        source: by data set.
        target: "prompt" or "response".
    """

    lang: dict[str, Most] = field(default_factory=dict)
    category: dict[str, Most] = field(default_factory=dict)
    risk: dict[str, Most] = field(default_factory=dict)
    source: dict[str, Most] = field(default_factory=dict)
    target: dict[str, Most] = field(default_factory=dict)


@dataclass(frozen=True)
class Shares:
    """Largest share of the mix that each value of a dimension may have, in [0, 1]; names as in `Caps`. Shares that add
    up to 1 are met exactly.
    """

    lang: dict[str, Share] = field(default_factory=dict)
    category: dict[str, Share] = field(default_factory=dict)
    risk: dict[str, Share] = field(default_factory=dict)
    source: dict[str, Share] = field(default_factory=dict)
    target: dict[str, Share] = field(default_factory=dict)


@dataclass(frozen=True)
class MixSettings:
    """Settings of `mix`; all numbers are ours.

    Attributes:
        evaluation: files of the data schema that must not be trained on, by the name under which leaks are counted.
        leak_threshold: ROUGE-L from which on a text is one of theirs.
        duplicate_threshold: ROUGE-L from which on two texts are near duplicates.
        most: caps on rows; rows are only ever left out, never taken twice.
        shares: caps on shares, met after those on rows.
        validation: share of the families that are for validation.
        test: share of the families that are for testing.
        keep_unlabelled: whether rows without a label are handed on; the fine-tuning can have a teacher label them.
        licences: by source, for the data card.
    """

    evaluation: dict[str, Path] = field(default_factory=dict)
    leak_threshold: Likeness = 0.8
    duplicate_threshold: Likeness = 0.9
    most: Caps = field(default_factory=Caps)
    shares: Shares = field(default_factory=Shares)
    validation: Share = 0.05
    test: Share = 0.05
    keep_unlabelled: bool = False
    licences: dict[str, str] = field(default_factory=dict)
