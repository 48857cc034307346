"""Our categories in OpenAI's words. The two taxonomies do not fit: the table loses something both ways.

Source: ecosystem.md 3.3 of the design; the choice is ours. OpenAI has no word for four of ours: personal data,
political topics, copyright, jailbreaks. They are named by our own names, which stand beside OpenAI's thirteen.
"""

from typing import TypeVar

from guardrail.taxonomy import Category

OPENAI_CATEGORIES = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip
"""All of OpenAI's; every answer has them."""

TO_OPENAI: dict[str, tuple[str, ...]] = {
    Category.VIOLENT: ("violence", "illicit/violent"),
    Category.ILLEGAL_ACTS: ("illicit",),
    Category.SEXUAL_CONTENT: ("sexual",),
    Category.SELF_HARM: ("self-harm",),
    Category.UNETHICAL: ("harassment", "hate"),
    Category.PII: (),
    Category.POLITICAL: (),
    Category.COPYRIGHT: (),
    Category.JAILBREAK: (),
}
"""Category to OpenAI's names. Those that no category leads to are always false, with a score of 0."""

FROM_OPENAI: dict[str, Category] = {
    "harassment": Category.UNETHICAL,
    "harassment/threatening": Category.UNETHICAL,
    "hate": Category.UNETHICAL,
    "hate/threatening": Category.UNETHICAL,
    "illicit": Category.ILLEGAL_ACTS,
    "illicit/violent": Category.VIOLENT,
    "self-harm": Category.SELF_HARM,
    "self-harm/instructions": Category.SELF_HARM,
    "self-harm/intent": Category.SELF_HARM,
    "sexual": Category.SEXUAL_CONTENT,
    "sexual/minors": Category.SEXUAL_CONTENT,
    "violence": Category.VIOLENT,
    "violence/graphic": Category.VIOLENT,
}
"""OpenAI's names to ours, for policies and labels that come from there."""


def scores(non_safe: float, by_category: dict[str, float]) -> dict[str, float]:
    """Return a score in [0, 1] for each of OpenAI's names and each of ours; higher is riskier.

    Args:
        non_safe: probability of Controversial or Unsafe.
        by_category: probability of each category given that there is harm.
    """
    own = {name: non_safe * share for name, share in by_category.items()}
    return _both(own, 0.0)


def flags(flagged: str | None, names: tuple[str, ...]) -> dict[str, bool]:
    """Return whether each of OpenAI's names and each of ours is flagged.

    Args:
        flagged: the decision's category; None flags none.
        names: the model's categories.
    """
    return _both({name: name == flagged for name in names}, False)


T = TypeVar("T", float, bool)


def _both(own: dict[str, T], none: T) -> dict[str, T]:
    """Return values by OpenAI's names, each the highest of what leads to it, and by ours.

    A model's own category that is called as one of theirs leads to that one.
    """
    theirs = dict.fromkeys(OPENAI_CATEGORIES, none)
    for name, value in own.items():
        for theirs_name in TO_OPENAI.get(name, (name,) if name in theirs else ()):
            theirs[theirs_name] = max(theirs[theirs_name], value)
    return {**theirs, **{name: value for name, value in own.items() if name not in theirs}}
