"""Settings of `translate`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from guardrail.training.settings import Count, Positive, Share

MIN_LETTERS = 20
"""Shorter texts are not looked at for their language: a name or two decides there. Our choice."""


@dataclass(frozen=True)
class TranslateSettings:
    """Settings of `translate`; all numbers are ours: the report names its kinds of checks, not their thresholds.

    Attributes:
        model: who translates, by its name in the recipe.
        langs: language codes to translate to; a row of one of them is not translated to it.
        names: names of languages by code, for the prompt; none takes the English name.
        source_langs: languages that are translated; none takes all.
        share: of the rows that are translated to each language.
        shares: the same by code, for languages that have another one.
        n_rows: rows translated to each language; 0 goes by the shares. Families stay whole, so it may be a few more.
        by_family: whether rows of one root (a prompt, its pair partner, their answers) are translated together or not
            at all, and a pair partner is left out where the other one's translation was.
        max_chars: longer conversations are not translated.
        max_tokens: most tokens of a translation.
        judge: who judges meaning and harm, by its name in the recipe; empty: nobody.
        min_ratio: least length of a translation over its source's, a Chinese, Japanese or Korean character counting
            three. Of the translations of `xsafety` 0.3 % or fewer lie beyond both, in each of nine languages.
        max_ratio: most of it; likewise.
        min_letters: shorter texts are not looked at for their language.
        thresholds: share of another language, by code, from which on a text is mixed; none takes the measured ones.
        sheet_rows: translations of each language in the sheet for people.
        reviewed: sheet that people have filled in: rows that they rejected are left out.
        prompts: file of prompts; none takes ours.
    """

    model: str
    langs: tuple[str, ...]
    names: dict[str, str] = field(default_factory=dict)
    source_langs: tuple[str, ...] = ("en",)
    share: Share = 0.1
    shares: dict[str, Share] = field(default_factory=dict)
    n_rows: Annotated[int, Field(ge=0)] = 0
    by_family: bool = True
    max_chars: Count = 8000
    max_tokens: Count = 4096
    judge: str = ""
    min_ratio: Positive = 0.4
    max_ratio: Positive = 2.5
    min_letters: Count = MIN_LETTERS
    thresholds: dict[str, Share] = field(default_factory=dict)
    sheet_rows: Annotated[int, Field(ge=0)] = 100
    reviewed: Path | None = None
    prompts: Path | None = None
