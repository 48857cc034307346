"""How good labels are that a panel of weak annotators votes on, by each way to put its votes together.

    python benchmarks/recipe_annotate.py [--data data] [--sets gptfuzz_responses ...] [--people 100 300] [--seeds 5]
    python benchmarks/recipe_annotate.py --rows 1190000

The annotators are small classifiers that each see the texts in another way and learn from a few hundred rows of their
own; their errors are real, but they are no LLMs. They learn from three families in ten. Of the others, some rows stand
for the set that people labelled: from these the ways learn. On the rest they are measured. Families are all answers to
one question; each seed draws families, rows and what the annotators learn anew. A second panel has four voices more
that are near copies of its weakest view, as models of one family are.

The embedded model is no annotator here: it has learned these very labels. With --rows, what drawn votes of five
annotators on so many rows take: seconds of one core and memory, without reading and writing rows.
"""

import argparse
import platform
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from guardrail.bench.machine import cores, cpu_name
from guardrail.conversation import Role
from guardrail.evaluation.rows import Row, read_rows
from guardrail.training.annotate.aggregates import confusion
from guardrail.training.annotate.ballots import NONE, Ballots
from guardrail.training.annotate.measuring import macro_f1_of, macro_f1s
from guardrail.training.annotate.report import summarise
from guardrail.training.annotate.settings import AGGREGATES, AnnotateSettings
from guardrail.training.annotate.weighing import label, learn, untuned
from guardrail.training.recipe.rows import place_of

PACKAGES = ("guardrail-stream", "numpy", "scikit-learn", "crowd-kit")

SETS = ("gptfuzz_responses", "davidson_hate", "diasafety")
MOST_ROWS = 6000
"""Rows of a set that take part, drawn by the seed."""

TAUGHT = 0.3
"""Share of the families that annotators learn from."""

SLICE = 300
"""Rows that one annotator learns from."""

N_KEYWORDS = 40
"""Words of a level that the keyword list holds."""

SINGLE = "best single, chosen by people's labels"

Levels = NDArray[np.int8]
Annotator = Callable[[Sequence[str]], Levels]
View = Callable[[Sequence[str], Levels], Annotator]


def words(texts: Sequence[str], levels: Levels) -> Annotator:
    """Learn from words."""
    return fitted(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), texts, levels)


def characters(texts: Sequence[str], levels: Levels) -> Annotator:
    """Learn from pieces of words."""
    return fitted(TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True), texts, levels)


def bayes(texts: Sequence[str], levels: Levels) -> Annotator:
    """Learn words by naive Bayes, with the levels as frequent as they are."""
    model = make_pipeline(CountVectorizer(), MultinomialNB()).fit(texts, levels)
    return lambda asked: np.asarray(model.predict(asked), np.int8)


def beginning(texts: Sequence[str], levels: Levels) -> Annotator:
    """Learn from the first six words alone."""
    inner = words([first_words(text) for text in texts], levels)
    return lambda asked: inner([first_words(text) for text in asked])


def strict(texts: Sequence[str], levels: Levels) -> Annotator:
    """Learn from words, with all that is not Safe read as Unsafe; doubtful texts are Unsafe."""
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=4.0, max_iter=300)).fit(texts, levels > 0)
    return lambda asked: np.where(model.predict_proba(asked)[:, 1] > 0.3, 2, 0).astype(np.int8)


def keywords(texts: Sequence[str], levels: Levels) -> Annotator:
    """Learn a list of words for each level that is not Safe; a text has the most severe level of its words."""
    counter = CountVectorizer(binary=True, min_df=2)
    counts = counter.fit_transform(texts)
    names, found = counter.get_feature_names_out(), dict[str, int]()
    for level in (1, 2):
        inside, outside = counts[levels == level], counts[levels != level]
        if inside.shape[0]:
            odds = np.log((inside.sum(0) + 1) / inside.shape[0]) - np.log((outside.sum(0) + 1) / outside.shape[0])
            odds = np.asarray(odds)
            found |= {names[i]: level for i in np.argsort(-odds.ravel(), kind="stable")[:N_KEYWORDS]}
    analyse = counter.build_analyzer()
    return lambda asked: np.array([max((found.get(word, 0) for word in analyse(t)), default=0) for t in asked], np.int8)


def fitted(vectorizer: Any, texts: Sequence[str], levels: Levels) -> Annotator:
    """Return a logistic regression for which all levels count alike."""
    model = make_pipeline(vectorizer, LogisticRegression(C=4.0, max_iter=300, class_weight="balanced"))
    model.fit(texts, levels)
    return lambda asked: np.asarray(model.predict(asked), np.int8)


def first_words(text: str) -> str:
    """Return the first six words."""
    return " ".join(text.split()[:6])


VIEWS: dict[str, View] = {view.__name__: view for view in (words, characters, bayes, beginning, strict, keywords)}
COPIED, N_COPIES = "beginning", 4
"""The view that the second panel has near copies of; each learns from nine tenths of its rows."""

PANELS = {"six views": False, "six views, four copies of one": True}


@dataclass(frozen=True, slots=True)
class Panel:
    """What the annotators say of the rows that they have not learned from.

    Attributes:
        votes: by annotator, int8 [row].
        people: int8 [row], people's labels.
        families: int32 [row].
        half: int8 [row], 0 for rows that ways may learn from.
    """

    votes: Mapping[str, Levels]
    people: Levels
    families: NDArray[np.int32]
    half: Levels

    def ballots(self, names: Sequence[str], n_people: int, seed: int) -> Ballots:
        """Return the votes of some annotators on drawn rows of half 0, and on all of half 1."""
        drawn = np.random.default_rng([seed, n_people]).permutation(np.flatnonzero(self.half == 0))[:n_people]
        rows = np.concatenate([np.sort(drawn), np.flatnonzero(self.half == 1)])
        votes, is_known = np.stack([self.votes[name][rows] for name in names], axis=1), np.ones(len(rows), np.bool_)
        return Ballots(
            tuple(names), votes, is_known, is_known, self.people[rows], self.half[rows], ~is_known, self.families[rows]
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of labelled rows")
    parser.add_argument("--sets", nargs="+", default=SETS, help="sources that people labelled")
    parser.add_argument("--people", type=int, nargs="+", default=(100, 300, 1000), help="people's labels to learn from")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=0, help="measure the cost on so many drawn rows instead")
    options = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    print(f"{cpu_name()}, {cores()} cores; Python {platform.python_version()}, {versions}; {options.seeds} seeds")
    if options.rows:
        show_cost(options.rows)
        return
    for name in options.sets:
        panels = [voted(options.data / f"{name}.jsonl.gz", seed) for seed in range(options.seeds)]
        show_annotators(name, panels)
        for title, has_copies in PANELS.items():
            show(f"{name}, {title}", panels, has_copies, options.people)
    print(f"\n{time.process_time():.0f} s of one core")


def voted(path: Path, seed: int) -> Panel:
    """Teach the annotators and let them vote."""
    rows = list(read_rows(path))
    rng = np.random.default_rng(seed)
    rows = [rows[i] for i in np.sort(rng.permutation(len(rows))[:MOST_ROWS])]
    levels = np.array([row.risk.rank for row in rows], np.int8)
    texts = [row.judged_text for row in rows]
    is_taught = np.array([place_of(family_of(row), f"taught {seed}") < TAUGHT for row in rows])
    taught, asked = np.flatnonzero(is_taught), np.flatnonzero(~is_taught)
    slices = {view: rng.permutation(taught)[:SLICE] for view in VIEWS}
    learners = {view: (view, places) for view, places in slices.items()}
    for i in range(N_COPIES):
        learners[f"copy {i + 1}"] = (COPIED, rng.permutation(slices[COPIED])[: SLICE * 9 // 10])
    shown = [texts[i] for i in asked]
    votes = {
        name: VIEWS[view]([texts[i] for i in places], levels[places])(shown)
        for name, (view, places) in learners.items()
    }
    numbers: dict[str, int] = {}
    families = [numbers.setdefault(family_of(rows[i]), len(numbers)) for i in asked]
    half = [place_of(family_of(rows[i]), f"half {seed}") >= 0.5 for i in asked]
    return Panel(votes, levels[asked], np.array(families, np.int32), np.array(half, np.int8))


def family_of(row: Row) -> str:
    """Return what the rows of a family share: the question that they answer."""
    return next((message.content for message in row.messages if message.role is Role.USER), row.id)


def show_annotators(name: str, panels: Sequence[Panel]) -> None:
    """Print how good each annotator is alone."""
    n_rows = [int((panel.half == 1).sum()) for panel in panels]
    n_families = [len(np.unique(panel.families[panel.half == 1])) for panel in panels]
    print(f"\n## {name}: measured on {told(n_rows, '.0f')} rows of {told(n_families, '.0f')} families\n")
    found = defaultdict[str, list[float]](list)
    for panel in panels:
        for annotator, levels in panel.votes.items():
            found[annotator].append(float(macro_f1_of(confusion(panel.people, levels))))
    print("Annotators alone, macro F1: " + "; ".join(f"{one} {told(f1s, '.3f')}" for one, f1s in found.items()))


def show(title: str, panels: Sequence[Panel], has_copies: bool, numbers: Sequence[int]) -> None:
    """Print a table: each way, the macro F1 over the seeds, how often it surely beats or loses to the best."""
    print(f"\n### {title}\n")
    print("| way | " + " | ".join(f"{n} people's labels | > / < single" for n in numbers) + " |")
    print("|---" * (1 + 2 * len(numbers)) + "|")
    lines = defaultdict[str, list[str]](list)
    for n_people in numbers:
        found: dict[str, list[float]] = defaultdict(list)
        surely: dict[str, list[int]] = defaultdict(list)
        for seed, panel in enumerate(panels):
            names = sorted(name for name in panel.votes if has_copies or not name.startswith("copy"))
            estimates, drawn = measured(panel.ballots(names, n_people, seed), seed)
            for i, (way, f1) in enumerate(estimates.items()):
                found[way].append(f1)
                low, high = np.quantile(drawn[:, i] - drawn[:, 0], (0.025, 0.975))
                surely[way].append(int(low > 0) - int(high < 0))
        for way, f1s in found.items():
            won, lost = surely[way].count(1), surely[way].count(-1)
            lines[way] += [told(f1s, ".3f"), "" if way == SINGLE else f"{won} / {lost}"]
    for way, cells in lines.items():
        print(f"| {way} | " + " | ".join(cells) + " |", flush=True)


def measured(ballots: Ballots, seed: int) -> tuple[dict[str, float], NDArray[np.float64]]:
    """Return the macro F1 of the best single annotator and of each way on half 1, and draws of them."""
    taught, rows = ballots.half == 0, ballots.half == 1
    people = ballots.people
    alone = [float(macro_f1_of(confusion(people[taught], votes[taught]))) for votes in ballots.votes.T]
    called = {SINGLE: ballots.votes[rows, int(np.argmax(alone))]}
    for kind in AGGREGATES:
        tuned = learn(ballots, kind, AnnotateSettings(), tune=True, seed=seed)
        called[kind] = label(ballots, untuned(tuned), 2).levels[rows]
        called[f"{kind}, tuned"] = label(ballots, tuned, 2).levels[rows]
    estimates, drawn = macro_f1s(people[rows], called, ballots.families[rows])
    return {way: one.value or 0.0 for way, one in estimates.items()}, drawn


def show_cost(n: int) -> None:
    """Print what labelling drawn votes takes, and comparing all ways on 4,000 labels of people."""
    rng = np.random.default_rng(1)
    truth = rng.choice(3, n, p=(0.5, 0.2, 0.3)).astype(np.int8)
    votes = [np.where(rng.random(n) < right, truth, rng.integers(0, 3, n)) for right in (0.9, 0.8, 0.7, 0.6, 0.6)]
    is_known = np.arange(n) < 4000
    ballots = Ballots(
        tuple("abcde"), np.stack(votes, axis=1).astype(np.int8), np.ones(n, np.bool_), is_known,
        np.where(is_known, truth, NONE).astype(np.int8), (np.arange(n) % 2).astype(np.int8), rng.random(n) < 0.588,
        np.arange(n, dtype=np.int32),
    )  # fmt: skip
    del votes
    settings, began = AnnotateSettings(), time.process_time()
    labels = label(ballots, learn(ballots, "calibrated", settings, tune=True, seed=1), settings.min_votes)
    labelled = time.process_time()
    summarise(ballots, labels, settings, 1, {})
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{n} rows: labelled in {labelled - began:.1f} s of one core, compared in "
        f"{time.process_time() - labelled:.1f} s; the process held at most {memory:.0f} MiB"
    )


def told(values: Sequence[float], form: str) -> str:
    """Return the mean and the range over the seeds."""
    return f"{np.mean(values):{form}} ({min(values):{form}}-{max(values):{form}})"


if __name__ == "__main__":
    main()
