"""Kind of harm and refusal: what most of the annotators say who agree with the row's risk level (technical report)."""

from collections import Counter
from collections.abc import Sequence

from guardrail.taxonomy import Category, RiskLevel
from guardrail.training.annotate.voting import Vote

_ORDER = {category.value: i for i, category in enumerate(Category)}


def category_of(votes: Sequence[Vote | None], risk: RiskLevel) -> tuple[str, ...]:
    """Return the kind of harm that most annotators name first; none for a text that is Safe.

    Ties go to the kind that is named more often at any place, then to the one that the taxonomy lists first. Where
    nobody agrees with the level, all who call the text harmful are heard; nothing, when there are none.
    """
    if risk is RiskLevel.SAFE:
        return ()
    heard = [v for v in votes if v and v["risk"] == risk.value] or [v for v in votes if v]
    first = Counter(v["categories"][0] for v in heard if v["categories"])
    named = Counter(name for v in heard for name in v["categories"])
    order = sorted(first, key=lambda name: (-first[name], -named[name], _ORDER.get(name, len(_ORDER)), name))
    return tuple(order[:1])


def refusal_of(votes: Sequence[Vote | None], risk: RiskLevel) -> bool | None:
    """Return whether most annotators call the answer a refusal; None when nobody says, or as many deny it."""
    said = [v for v in votes if v and v["refusal"] is not None]
    for heard in ([v for v in said if v["risk"] == risk.value], said):
        balance = sum(1 if v["refusal"] else -1 for v in heard)
        if balance:
            return balance > 0
    return None
