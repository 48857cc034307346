"""What is to be made: a number of prompts for each subtopic, way and language."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from guardrail.errors import ConfigurationError
from guardrail.training.recipe.rows import place_of
from guardrail.training.synthesise.settings import SynthesiseSettings
from guardrail.training.synthesise.taxonomy import Keywords, Taxonomy, Topics

Mode = Literal["plain", "keyword", "pair"]
"""How prompts are made: for a subtopic; for a keyword of it; as pairs of the same form, harmful and harmless."""

MODES: tuple[Mode, ...] = ("plain", "keyword", "pair")


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of prompt.

    Attributes:
        mode: see `Mode`.
        topics: category.
        subtopic: name within the category.
        keywords: that prompts are made for; None when `mode` is plain.
        lang: language code.
        n_units: prompts wanted, or pairs of prompts.
    """

    mode: Mode
    topics: Topics
    subtopic: str
    keywords: Keywords | None
    lang: str = ""
    n_units: int = 0


def cells_of(settings: SynthesiseSettings, taxonomy: Taxonomy, n_prompts: int, seed: int) -> list[Cell]:
    """Return all cells that something is wanted of, by mode, language and the taxonomy's order.

    Of each way every subtopic (or set of keywords) of the same language gets as many as another, give or take one;
    who gets one more is drawn.

    Raises:
        ConfigurationError: prompts for keywords or pairs are wanted, and the taxonomy has no keywords.
    """
    n_pairs = round(n_prompts * settings.pair_share / 2)
    n_keyword = min(round(n_prompts * settings.keyword_share), n_prompts - 2 * n_pairs)
    wanted = {"plain": n_prompts - 2 * n_pairs - n_keyword, "keyword": n_keyword, "pair": n_pairs}
    cells = []
    for mode in MODES:
        kinds = list(_kinds(mode, taxonomy))
        if not kinds and wanted[mode]:
            raise ConfigurationError(f"the taxonomy has no keywords, so nothing can be made as {mode!r}")
        langs = sorted(settings.langs)
        of_lang = _spread(wanted[mode], [settings.langs[lang] for lang in langs], f"synthesise {seed} {mode}")
        for lang, n_lang in zip(langs, of_lang, strict=True):
            shares = _spread(n_lang, [1.0] * len(kinds), f"synthesise {seed} {mode} {lang}")
            cells += [replace(kind, lang=lang, n_units=n) for kind, n in zip(kinds, shares, strict=True) if n]
    return cells


def _kinds(mode: Mode, taxonomy: Taxonomy) -> Iterator[Cell]:
    for topics in taxonomy.topics:
        if mode == "plain":
            yield from (Cell(mode, topics, name, None) for name in topics.subtopics)
        else:
            yield from (Cell(mode, topics, words.subtopic, words) for words in topics.keywords)


def _spread(n: int, weights: Sequence[float], salt: str) -> list[int]:
    """Return whole numbers that add up to `n`, as near to the weights as can be; ties are drawn."""
    exact = [n * weight / sum(weights) for weight in weights]
    shares = [int(share) for share in exact]
    rest = sorted(range(len(weights)), key=lambda i: (round(shares[i] - exact[i], 9), place_of(str(i), salt)))
    for i in rest[: n - sum(shares)]:
        shares[i] += 1
    return shares
