"""Rows with what their votes come to; people's labels stay, and so do those of sources unless they are to give way."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from guardrail.decision import Direction
from guardrail.taxonomy import RiskLevel
from guardrail.training.annotate.ballots import LEVELS, NONE, Ballots
from guardrail.training.annotate.details import category_of, refusal_of
from guardrail.training.annotate.voting import Vote, votes_of
from guardrail.training.annotate.weighing import Labels
from guardrail.training.recipe.rows import RecipeRow


def labelled(
    rows: Iterable[RecipeRow], ballots: Ballots, labels: Labels, counts: Counter[str], *, overwrite: bool
) -> Iterator[RecipeRow]:
    """Yield all rows in order; those that were voted on carry `votes`, `panel` and `disagreement` in `meta`.

    `panel` is the level that the votes come to, null when too few voted, and its confidence, whether or not the row has
    that label. `disagreement` is the share of votes against the label that the row has in the end; null without one.

    Args:
        rows: that came out of `Voting`.
        ballots: their votes.
        labels: what these come to.
        counts: grows as the rows are yielded.
        overwrite: whether labels of sources are replaced.
    """
    for i, row in enumerate(rows):
        if not ballots.is_voted[i]:
            yield row
            continue
        votes = votes_of(row, ballots.names)
        level = None if labels.levels[i] == NONE else LEVELS[labels.levels[i]]
        if level and row.is_human:
            counts.update(beside_people(row, votes, level))
        panel = {"risk": level and level.value, "confidence": round(float(labels.confidence[i]), 4) if level else None}
        after = _after(row, votes, level, counts, overwrite=overwrite)
        noted = {"panel": panel, "disagreement": disagreement(votes, after.risk)}
        yield replace(after, meta={**row.meta, **noted})


def _after(
    row: RecipeRow, votes: Sequence[Vote | None], level: RiskLevel | None, counts: Counter[str], *, overwrite: bool
) -> RecipeRow:
    if level is None:
        counts["needs review: too few votes"] += 1
        return row
    if row.is_human or (row.risk and not overwrite):
        counts["label kept"] += 1
        return row
    counts[f"labelled {level}"] += 1
    if row.risk not in (None, level):
        counts[f"changed from {row.risk} to {level}"] += 1
    changed: dict[str, Any] = {"risk": level, "categories": category_of(votes, level)}
    if level is not RiskLevel.SAFE and not changed["categories"]:
        counts["without category: nobody named one"] += 1
    if row.target is Direction.RESPONSE and (row.refusal is None or overwrite):
        changed["refusal"] = refusal_of(votes, level)
    if level is RiskLevel.SAFE:
        changed["unsafe_start_char"] = None
    return replace(row, **changed)


def beside_people(row: RecipeRow, votes: Sequence[Vote | None], level: RiskLevel) -> Iterator[str]:
    """Yield what is to be counted of the panel's category and refusal where people gave theirs too.

    Categories are compared where both call the text harmful; a panel that names none there is not as people say.
    """
    if row.categories and level is not RiskLevel.SAFE:
        named = set(category_of(votes, level))
        yield f"category: {_alike(bool(named) and named <= set(row.categories))}"
    refusal = refusal_of(votes, level)
    if row.refusal is not None and refusal is not None:
        yield f"refusal: {_alike(refusal is row.refusal)}"


def _alike(is_alike: bool) -> str:
    return "as people say" if is_alike else "not as people say"


def disagreement(votes: Sequence[Vote | None], risk: RiskLevel | None) -> float | None:
    """Return the share of votes, in [0, 1], that are against a level; None without votes or level."""
    cast = [vote["risk"] for vote in votes if vote]
    return round(sum(one != risk for one in cast) / len(cast), 4) if cast and risk else None
