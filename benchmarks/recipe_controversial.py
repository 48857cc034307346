"""Whether `controversial` finds the rows that people disagree on, and what training on them is worth.

    python benchmarks/recipe_controversial.py [--data data] [--seeds 3]

Reads `davidson_hate`: tweets with three votes and more each, in `meta.votes` as [hate, offensive, neither]. Three
questions are asked of them. Is it harmful at all (hate or offensive); is it hate: people agree (Safe, Unsafe) or do not
(Controversial). And with the majority's offensive as Controversial, where each such vote is Safe or Unsafe by the toss
of a coin: that makes those rows ambiguous by construction, which favours the method. The stage never sees any of this.
A row's label is one vote, drawn: Safe or Unsafe. A few rows keep people's verdict, marked as human: by them the share
is chosen, and two thresholds for every model that learns from the labels. A quarter is kept aside to test.
"""

import argparse
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from recipe_relabel import PACKAGES, Held, cell

from guardrail.bench.machine import cores, cpu_name
from guardrail.decision import Direction
from guardrail.evaluation.ranking import auc
from guardrail.evaluation.rows import Row, read_rows
from guardrail.training.controversial.mining import BINARY, Mined, mine
from guardrail.training.controversial.settings import ControversialSettings
from guardrail.training.controversial.voting import relabelled
from guardrail.training.learners.crossing import Teaching, Weighing, cross, survey
from guardrail.training.learners.learning import LEVELS, Lesson, Panel, Variant, open_learner
from guardrail.training.learners.settings import LearnerSettings
from guardrail.training.recipe.rows import RecipeRow, place_of

QUESTIONS = {
    "harmful at all": (1.0, 1.0, 0.0),
    "hate": (1.0, 0.0, 0.0),
    "hate, and offensive by the toss of a coin": (1.0, 0.5, 0.0),
}
"""How far a vote for hate, offensive and neither says Unsafe."""

MOST_OFFENSIVE = 4161
"""Rows called offensive that the third question is asked of, as many as there are of neither. Our choice."""

N_HUMAN = 1000
"""Rows that keep people's verdict. Our choice: about what one person labels in two days."""

SHARES = (0.6, 0.7, 0.8, 0.9)
SAFE, CONTROVERSIAL, UNSAFE = range(3)

Bools = NDArray[np.bool_]
Floats = NDArray[np.floating]
Levels = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Draw:
    """The rows of one question and seed.

    Attributes:
        rows: what the stage is given.
        gold: int8 [row], what people say with all their votes, index into `LEVELS`.
        test: rows kept aside, with the gold label.
    """

    rows: Held
    gold: Levels
    test: Held

    @property
    def free(self) -> Bools:
        """Bool [row], whether the label is a drawn vote."""
        return np.array([not row.is_human for row in self.rows])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of labelled rows")
    parser.add_argument("--seeds", type=int, default=3, help="draws of votes, human rows and halves")
    options = parser.parse_args()
    versions = [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES[1:])]
    print(f"{cpu_name()}, {cores()} cores; {', '.join(versions)}; seeds 0 to {options.seeds - 1}")
    rows = list(read_rows(options.data / "davidson_hate.jsonl.gz"))
    for question, voices in QUESTIONS.items():
        draws = [draw(asked_of(rows, voices), voices, seed) for seed in range(options.seeds)]
        n_rows = len(draws[0].rows) + len(draws[0].test)
        middle = np.mean(draws[0].gold == CONTROVERSIAL)
        print(f"\n## {question}: {n_rows} rows, {middle:.1%} of them Controversial\n", flush=True)
        show(measure(draws))


def asked_of(rows: Sequence[Row], voices: Sequence[float]) -> list[Row]:
    """Return the rows that a question is asked of: all, or with a coin not more offensive ones than harmless ones."""
    if 0.5 not in voices:
        return list(rows)
    offensive = [row for row in rows if row.risk is LEVELS[CONTROVERSIAL]]
    left_out = {row.id for row in sorted(offensive, key=lambda row: place_of(row.id, "offensive"))[MOST_OFFENSIVE:]}
    return [row for row in rows if row.id not in left_out]


def draw(rows: Sequence[Row], voices: Sequence[float], seed: int) -> Draw:
    """Return rows with one drawn vote each as label, some with people's verdict, and a quarter aside."""
    chance = np.random.default_rng([7, seed])
    shown, test, gold = Held(), Held(), []
    for row in rows:
        votes = row.meta["votes"]
        share = sum(n * voice for n, voice in zip(votes, voices, strict=True)) / sum(votes)
        verdict = SAFE if share == 0 else UNSAFE if share == 1 else CONTROVERSIAL
        if 0.5 in voices:
            verdict = LEVELS.index(row.risk)
        voted = UNSAFE if chance.random() < share else SAFE
        made = RecipeRow(row.id, row.id, row.source, row.lang, row.messages, row.target, LEVELS[verdict])
        if place_of(row.id, f"test {seed}") < 0.25:
            test.append(made)
            continue
        is_human = place_of(row.id, f"human {seed}") < N_HUMAN / (0.75 * len(rows))
        shown.append(replace(made, is_human=is_human, risk=LEVELS[verdict if is_human else voted]))
        gold.append(verdict)
    return Draw(shown, np.array(gold, np.int8), test)


def settings_for(seed: int) -> ControversialSettings:
    """Return the stage's settings; all rows teach, halves by seed."""
    learner = LearnerSettings(max_rows=1_000_000)
    return ControversialSettings(("prompt",), learner, f"halves {seed}", SHARES)


def mined(given: Draw, settings: ControversialSettings) -> Mined:
    """Return what the stage makes of a draw."""
    learner = open_learner(settings.learner, Path(), 1)
    surveyed = survey(given.rows, settings.salt)
    found = mine(Direction.PROMPT, given.rows, surveyed, learner, settings, lambda *_: lambda _: None)
    if found is None:
        raise SystemExit("too few rows to learn from")
    return found


def plain(given: Draw, settings: ControversialSettings) -> tuple[Floats, Floats]:
    """Return the probability of Unsafe by one classifier of the other half: rows as they come, and levels alike."""
    surveyed = survey(given.rows, settings.salt)
    teaching = Teaching("plain", np.ones(len(given.rows), np.bool_), settings.learner.max_rows, settings.salt)
    weighings = [Weighing("as they come"), Weighing("alike", dict.fromkeys(BINARY, 0.5))]
    learner = open_learner(settings.learner, Path(), 1)
    found = cross(
        learner, given.rows, surveyed, teaching, teaching.taught, BINARY, weighings, lambda *_: lambda _: None
    )
    return found[0, :, 1], found[1, :, 1]


def permuted(given: Draw, seed: int) -> Draw:
    """Return the same rows, the drawn labels dealt out anew: a control that must find nothing."""
    free = np.flatnonzero(given.free)
    dealt = dict(zip(free.tolist(), np.random.default_rng([9, seed]).permutation(free).tolist(), strict=True))
    rows = Held(replace(row, risk=given.rows[dealt.get(i, i)].risk) for i, row in enumerate(given.rows))
    return replace(given, rows=rows)


Line = tuple[str, dict[str, float]]


def measure(draws: Sequence[Draw]) -> Iterator[list[Line]]:
    """Yield for each seed the lines of all three tables."""
    for seed, given in enumerate(draws):
        settings = settings_for(seed)
        found, doubts = mined(given, settings), plain(given, settings)
        around = mined(given, replace(settings, around="rows"))
        yield [
            *_search("search|even", found), *_search("search|rows", around),
            *_found(given, found, around, doubts, settings, seed), *_trained(given, found, around, doubts[1]),
        ]  # fmt: skip


def _search(name: str, found: Mined) -> Iterator[Line]:
    for point in found.points:
        f1s = dict(zip(("F1 Safe", "F1 Controversial", "F1 Unsafe"), point.f1 or (np.nan,) * 3, strict=True))
        figures = {"conflict": point.conflict, "macro F1": point.macro_f1 or np.nan, **f1s}
        yield f"{name} {point.safe_share:.2f}", {**figures, "chosen": float(point is found.chosen)}


def _found(
    given: Draw, found: Mined, around: Mined, doubts: tuple[Floats, Floats], settings: ControversialSettings, seed: int
) -> Iterator[Line]:
    """Yield how well each score tells the rows that people disagreed on."""
    free = given.free
    split = given.gold[free] == CONTROVERSIAL
    n_mined = int(found.votes.is_conflict[free].sum())
    yield "found|vote, around even weights", _scored(split, conflict_score(found)[free], n_mined)
    yield "found|vote, around the rows", _scored(split, conflict_score(around)[free], n_mined)
    drawn = mined(given, replace(settings, drawn=True, safe_shares=(found.chosen.safe_share,)))
    yield "found|vote, even, rows left out", _scored(split, conflict_score(drawn)[free], n_mined)
    for name, unsafe in zip(("rows as they come", "levels alike"), doubts, strict=True):
        yield f"found|one model's doubt, {name}", _scored(split, -np.abs(unsafe - 0.5)[free], n_mined)
    control = mined(permuted(given, seed), replace(settings, safe_shares=(found.chosen.safe_share,)))
    yield "found|vote, even, labels permuted", _scored(split, conflict_score(control)[free], n_mined)


def conflict_score(found: Mined) -> Floats:
    """Return how far both go in opposite directions: above one half is a conflict."""
    return np.minimum(1 - found.loose, found.strict)


def _scored(split: Bools, score: Floats, n_mined: int) -> dict[str, float]:
    """Return figures of the rows with the highest scores, as many as the vote of weights puts in conflict."""
    top = np.argsort(-score, kind="stable")
    base, hits = float(split.mean()), split[top[:n_mined]]
    return {
        "AUC": auc(split, score.astype(np.float64)).value or 0.0, "mined": n_mined / len(split), "base": base,
        "precision": float(hits.mean()), "recall": float(hits.sum() / split.sum()), "lift": float(hits.mean()) / base,
        "lift at 10 %": float(split[top[: len(split) // 10]].mean()) / base,
    }  # fmt: skip


def _trained(given: Draw, found: Mined, around: Mined, unsafe: Floats) -> Iterator[Line]:
    """Yield what a model that learns from each kind of labels is worth on the rows kept aside."""
    before, uncertain = found.before, found.before.copy()
    doubtful = np.where(given.free, np.abs(unsafe - 0.5), np.inf)
    uncertain[np.argsort(doubtful, kind="stable")[: int(found.votes.is_conflict[given.free].sum())]] = CONTROVERSIAL
    human = np.flatnonzero(~given.free)
    shown = np.isin(np.arange(len(before)), human[::2])
    for name, labels in {
        "drawn votes, two levels": before,
        "mined, agreement keeps the label": found.after,
        "mined around the rows, agreement keeps the label": around.after,
        "mined, agreement sets the label": relabelled(before, found.votes, "vote"),
        "most doubtful rows of one model, as many": uncertain,
        "people's verdict on every row": given.gold,
    }.items():
        yield f"trained|{name}", learned(given, np.where(given.free, labels, -1), human)
    # Taught half of the human rows, so that the thresholds are set on rows that it has not seen, as for the others.
    name = "drawn votes and half of the human rows, three levels"
    yield f"trained|{name}", learned(given, np.where(given.free | shown, before, -1), human[1::2])


def learned(given: Draw, labels: NDArray[np.signedinteger], asked: NDArray[np.intp]) -> dict[str, float]:
    """Return what a model taught these labels is worth on the rows kept aside, thresholds set on the asked rows."""
    model = fitted(given.rows, labels)
    return judged(given.test, model, thresholds([given.rows[i] for i in asked], model))


def fitted(rows: Sequence[RecipeRow], labels: NDArray[np.signedinteger]) -> Panel:
    """Return a classifier taught these labels, levels weighed alike; -1 leaves a row out."""
    n_rows = np.bincount(labels[labels >= 0], minlength=len(LEVELS))
    levels = tuple(level for level, n in zip(LEVELS, n_rows, strict=True) if n)
    weights = {level: n_rows.sum() / len(levels) / n_rows[LEVELS.index(level)] for level in levels}
    lessons = (Lesson(row, LEVELS[label]) for row, label in zip(rows, labels, strict=True) if label >= 0)
    learner = open_learner(LearnerSettings(), Path(), 1)
    return learner.learn("trained", lessons, levels, [Variant("alike", weights, dict.fromkeys(levels, 1.0))])


def thresholds(human: Sequence[RecipeRow], model: Panel) -> tuple[float, float]:
    """Return the thresholds with the best F1 on these rows: strict on 1 - P(Safe), loose on P(Unsafe)."""
    vectors = model.probabilities(human)[0]
    gold = golds(human)
    grid = np.linspace(0.02, 0.98, 49)
    strict = [f1(gold > SAFE, 1 - vectors[:, 0] >= at) for at in grid]
    loose = [f1(gold == UNSAFE, vectors[:, -1] >= at) for at in grid]
    return float(grid[int(np.argmax(strict))]), float(grid[int(np.argmax(loose))])


def judged(test: Sequence[RecipeRow], model: Panel, at: tuple[float, float]) -> dict[str, float]:
    """Return strict and loose F1, Controversial being unsafe and being safe: at the thresholds, and by the likeliest
    level.
    """
    vectors, gold = model.probabilities(test)[0], golds(test)
    called = vectors.argmax(1)
    strict, loose = f1(gold > SAFE, 1 - vectors[:, 0] >= at[0]), f1(gold == UNSAFE, vectors[:, -1] >= at[1])
    likeliest = f1(gold > SAFE, called > 0), f1(gold == UNSAFE, called == vectors.shape[1] - 1)
    return {
        "strict F1": strict, "loose F1": loose, "mean": (strict + loose) / 2,
        "likeliest: strict": likeliest[0], "likeliest: loose": likeliest[1], "likeliest: mean": sum(likeliest) / 2,
    }  # fmt: skip


def golds(rows: Sequence[RecipeRow]) -> NDArray[np.int64]:
    """Return int64 [row], index of each label in `LEVELS`."""
    return np.array([LEVELS.index(row.risk) for row in rows if row.risk])


def f1(gold: Bools, called: Bools) -> float:
    """Return F1 of the positives."""
    return float(2 * (gold & called).sum() / max(1, gold.sum() + called.sum()))


def show(found: Iterator[list[Line]]) -> None:
    """Print a table of each kind: mean over the seeds and the spread between them."""
    seeds = [dict(lines) for lines in found]
    for kind, title in (("search", "around, share of Safe"), ("found", "score"), ("trained", "labels learned from")):
        names = [name for name in seeds[0] if name.startswith(f"{kind}|")]
        columns = list(seeds[0][names[0]])
        print(f"| {title} | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
        for name in names:
            cells = [cell([seed[name][column] for seed in seeds]) for column in columns]
            print(f"| {name.partition('|')[2]} | {' | '.join(cells)} |")
        print(flush=True)


if __name__ == "__main__":
    main()
