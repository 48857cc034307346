"""Measures how well the `translate` stage finds texts that mix languages, and how many pure ones it takes for such.

    .venvs/test/bin/python benchmarks/recipe_languages.py --data data [--limit 1500] [--seed 1] [--thresholds]

Pure texts are public prompts, questions and sentences in one language, long enough for the stage to look at. Mixed ones
are the same with words of another language planted in them. A threshold is chosen on one half of the texts (by the hash
of their ids) and tried on the other. `--thresholds` prints what `guardrail/training/translate/thresholds.py` ships.
"""

import argparse
import platform
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from guardrail.audit.intervals import wilson
from guardrail.bench.machine import cores, cpu_name
from guardrail.training.corpus import read_objects
from guardrail.training.recipe.rows import half_of
from guardrail.training.translate.checks import check
from guardrail.training.translate.languages import base_code, confidence_of, sisters_of
from guardrail.training.translate.mixing import Mix, mix_of
from guardrail.training.translate.scripts import n_letters, scripts_of, weight
from guardrail.training.translate.settings import MIN_LETTERS, TranslateSettings
from guardrail.training.translate.thresholds import HIGHEST, LEAST_CONFIDENCE, LOWEST, threshold_of

FILES = ("xsafety", "tatoeba_benign")
NAMES = ("xquad_questions_benign",)
"""Questions on encyclopedia articles, full of foreign names: thresholds are not chosen on them."""

FALSE_ALARMS = 0.01
LEAST_TEXTS = 100
"""Languages with fewer are left out."""

CHINESE = "我们今天去公园散步，天气很好，心情也很愉快。"
NEVER = 0.5
"""Area of a measure that says the same of every text."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pool:
    """Texts of one language.

    Attributes:
        lang: its code.
        texts: in one language, as far as their source goes.
        halves: of each text: 0 chooses the threshold, 1 tries it.
    """

    lang: str
    texts: Sequence[str]
    halves: NDArray[np.int64]


def main() -> None:
    """Read, plant, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the public files")
    parser.add_argument("--limit", type=int, default=1500, help="most texts of a language")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--thresholds", action="store_true", help="print the measured thresholds and end")
    options = parser.parse_args()
    pools, english = read(options.data, FILES, options.limit, options.seed)
    if options.thresholds:
        for pool in pools:
            value = np.clip(np.ceil(100 * chosen(pool, share(mixes(pool, pool.texts)))) / 100, LOWEST, HIGHEST)
            print(f'    "{pool.lang}": {value:.2f},  # {int((pool.halves == 0).sum())} texts')
        return
    versions = f"Python {platform.python_version()}, lingua {version('lingua-language-detector')}"
    print(f"{cpu_name()}, {cores()} cores; {versions}; seed {options.seed}, at most {options.limit} texts a language")
    print_mixing(pools, english, options.seed)
    print_sisters(pools)
    print_names(read(options.data, NAMES, options.limit, options.seed)[0])
    print_translations(options.data, options.limit)


def print_mixing(pools: Sequence[Pool], english: Sequence[str], seed: int) -> None:
    """Print what the shipped thresholds find of what was planted into the second half of the texts."""
    heads = (
        "language", "texts", "AUC: script, detector, larger of both", "at 1 %: threshold, hits",
        "shipped threshold: false alarms (95 %)", "half a prompt", "five words", "8 Chinese characters",
    )  # fmt: skip
    print_head("Mixed languages", heads)
    for pool in pools:
        print(mixing_line(pool, english, seed))


def print_sisters(pools: Sequence[Pool]) -> None:
    """Print how often a sister language passes for the right one."""
    print_head("Sister languages", ("asked for", "its own texts refused", "texts of a sister language refused"))
    known = {pool.lang: pool.texts for pool in pools}
    for lang, texts in known.items():
        sisters = sorted((sisters_of(lang) - {lang}) & known.keys())
        if sisters:
            found = ", ".join(f"{one} {refused(lang, known[one])}" for one in sisters)
            print(f"| {lang} | {refused(lang, texts)} | {found} |")


def refused(lang: str, texts: Sequence[str]) -> str:
    share = np.mean([confidence_of(text, lang) < LEAST_CONFIDENCE for text in texts])
    return f"{share:.1%} of {len(texts)}"


def print_names(pools: Sequence[Pool]) -> None:
    """Print false alarms on texts that are full of names, when the source is not there to tell them by."""
    print_head("Texts full of names, source unknown", ("language", "texts", "threshold", "false alarms (95 %)"))
    for pool in pools:
        shares, threshold = share(mixes(pool, pool.texts)), threshold_of(pool.lang, {})
        print(
            f"| {pool.lang} | {len(shares)} | {threshold:.2f} | {told(int((shares > threshold).sum()), len(shares))} |"
        )


def print_translations(data: Path, limit: int) -> None:
    """Print what the stage would refuse of the translations of a public set, and the ratio of their lengths.

    The file does not say what is whose translation: scenarios are taken that have as many texts as in English, in an
    order in which lengths go together (correlation above 0.8).
    """
    by_lang: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in read_objects(data / "xsafety.jsonl.gz", ("lang", "messages", "meta")):
        by_lang[base_code(row["lang"])][row["meta"]["scenario"]].append(row["messages"][-1]["content"])
    english = by_lang.pop("en")
    heads = ("language", "pairs", "length over the source's: 0.5 %, median, 99.5 %", "refused (95 %)", "why")
    print_head("Translations of a public set, all checks, source known", heads)
    for lang, scenarios in sorted(by_lang.items()):
        pairs = [pair for name, texts in scenarios.items() for pair in aligned(english[name], texts)]
        found = np.quantile([weight(text) / weight(source) for source, text in pairs], (0.005, 0.5, 0.995))
        pairs = pairs[:: max(1, len(pairs) // limit)]
        flaws = Counter(check([source], [text], lang, "en", TranslateSettings("", ())).flaw for source, text in pairs)
        n_refused = len(pairs) - flaws.pop("", 0)
        why = ", ".join(f"{flaw} {n}" for flaw, n in sorted(flaws.items()))
        lengths = ", ".join(f"{ratio:.2f}" for ratio in found)
        print(f"| {lang} | {len(pairs)} | {lengths} | {told(n_refused, len(pairs))} | {why} |")


def aligned(sources: Sequence[str], texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return sources with their translations; none if they do not stand in one order."""
    lengths = [weight(text) for text in texts], [weight(source) for source in sources]
    if len(texts) != len(sources) or np.corrcoef(lengths)[0, 1] < 0.8:
        return []
    return [(source, text) for source, text in zip(sources, texts, strict=True) if weight(source) >= MIN_LETTERS]


def print_head(title: str, columns: Sequence[str]) -> None:
    print(f"\n**{title}**\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")


def told(n_hits: int, n: int) -> str:
    found = wilson(n_hits, n)
    return f"{n_hits}: {found.value:.1%} ({found.low:.1%} to {found.high:.1%})"


def read(data: Path, names: Sequence[str], limit: int, seed: int) -> tuple[list[Pool], list[str]]:
    """Return the texts of each language but English, and English prompts to plant."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name in names:
        for row in read_objects(data / f"{name}.jsonl.gz", ("id", "lang", "messages")):
            text = row["messages"][-1]["content"]
            if n_letters(text) >= MIN_LETTERS:
                found[base_code(row["lang"])].setdefault(text, row["id"])
    chance, pools = np.random.default_rng(seed), []
    english = list(found.pop("en"))
    for lang in sorted(found):
        texts = list(found[lang])
        texts = [texts[i] for i in chance.permutation(len(texts))[:limit]]
        halves = np.array([half_of(found[lang][text], "languages") for text in texts])
        if len(texts) >= LEAST_TEXTS:
            pools.append(Pool(lang, texts, halves))
    return pools, english


def mixing_line(pool: Pool, english: Sequence[str], seed: int) -> str:
    """Return one language's row of the table."""
    chance, pure, is_tried = np.random.default_rng([seed, len(pool.texts)]), mixes(pool, pool.texts), pool.halves == 1
    found = {name: mixes(pool, [plant(text, english, chance) for text in pool.texts]) for name, plant in PLANTS.items()}
    aucs = [auc(of(pure)[is_tried], of(found["half"])[is_tried]) for of in (by_script, by_detector, share)]
    shares, shipped = share(pure), threshold_of(pool.lang, {})
    at, hits = chosen(pool, shares), {name: share(one)[is_tried] for name, one in found.items()}
    caught = [f"{(one > shipped).mean():.3f}" for one in hits.values()]
    if "Han" in scripts_of(pool.lang):
        caught[-1] = "-"  # no mixing in Chinese; in Japanese it is none that a script could tell
    n_tried, n_false = int(is_tried.sum()), int((shares[is_tried] > shipped).sum())
    areas = ", ".join("-" if abs(one - NEVER) < 0.001 else f"{one:.3f}" for one in aucs)
    cells = (
        pool.lang, f"{len(shares) - n_tried} + {n_tried}", areas, f"{at:.3f}, {(hits['half'] > at).mean():.3f}",
        f"{shipped:.2f}, {told(n_false, n_tried)}", *caught,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def mixes(pool: Pool, texts: Sequence[str]) -> list[Mix]:
    """Look at texts as the stage would, without a source whose names could stay: the harder case."""
    return [mix_of(text, pool.lang, "", "en") for text in texts]


def share(found: Sequence[Mix]) -> Floats:
    return np.array([one.share for one in found])


def by_script(found: Sequence[Mix]) -> Floats:
    return np.array([one.by_script for one in found])


def by_detector(found: Sequence[Mix]) -> Floats:
    return np.array([one.by_detector or 0.0 for one in found])


def chosen(pool: Pool, shares: Floats) -> float:
    """Return the share that 1 % of the first half's texts go beyond."""
    return float(np.quantile(shares[pool.halves == 0], 1 - FALSE_ALARMS, method="higher"))


def auc(pure: Floats, planted: Floats) -> float:
    return float(roc_auc_score([0] * len(pure) + [1] * len(planted), np.concatenate([pure, planted])))


Plant = Callable[[str, Sequence[str], np.random.Generator], str]


def half(text: str, english: Sequence[str], chance: np.random.Generator) -> str:
    """Put half an English prompt behind a text."""
    one = english[chance.integers(len(english))]
    return f"{text} {one[: len(one) // 2]}"


def five_words(text: str, english: Sequence[str], chance: np.random.Generator) -> str:
    """Put five English words into a text."""
    words = english[chance.integers(len(english))].split()
    start = int(chance.integers(max(1, len(words) - 4)))
    return inside(text, " ".join(words[start : start + 5]))


def chinese(text: str, _english: Sequence[str], chance: np.random.Generator) -> str:
    """Put eight Chinese characters into a text."""
    start = int(chance.integers(len(CHINESE) - 8))
    return inside(text, CHINESE[start : start + 8])


def inside(text: str, words: str) -> str:
    """Put words into the middle of a text, between two of its own where it has spaces."""
    middle = text.find(" ", len(text) // 2)
    middle = len(text) // 2 if middle < 0 else middle
    return f"{text[:middle]} {words} {text[middle:]}"


PLANTS: Mapping[str, Plant] = {"half": half, "five": five_words, "chinese": chinese}


if __name__ == "__main__":
    main()
