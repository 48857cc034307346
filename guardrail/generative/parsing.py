"""Reads what a Gen model wrote: the format to the letter, or nothing. What cannot be read is a failure, never safe."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp

from guardrail.errors import UnparsableVerdict
from guardrail.taxonomy import PROMPT_LABELS, RESPONSE_LABELS, LabelSet, RiskLevel
from guardrail.verdict import Verdict, rounded

_PROMPT = re.compile(r"Safety: (\w+)\nCategories: ([^\n]+)")
_RESPONSE = re.compile(r"Safety: (\w+)\nCategories: ([^\n]+)\nRefusal: (Yes|No)")

NO_CATEGORY = "None"
"""Stands where the text is safe."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model wrote.

    Attributes:
        risk: the level it named.
        categories: those it named, the first one first; none where the text is safe.
        refusal: what it said of a response; None of a prompt.
    """

    risk: RiskLevel
    categories: tuple[str, ...]
    refusal: bool | None


def parse(text: str, *, is_response: bool) -> Answer:
    """Return what the model wrote.

    Raises:
        UnparsableVerdict: a line is missing or unknown, there is other text, or the lines contradict each other.
    """
    found = (_RESPONSE if is_response else _PROMPT).fullmatch(text.strip())
    if not found:
        raise UnparsableVerdict(f"the model's answer of {len(text)} characters does not follow its format")
    level, named = found[1], found[2]
    if level not in list(RiskLevel):
        raise UnparsableVerdict("the model named an unknown safety label")
    categories = () if named == NO_CATEGORY else tuple(named.split(", "))
    known = (RESPONSE_LABELS if is_response else PROMPT_LABELS).categories
    if not set(categories) <= set(known):
        raise UnparsableVerdict("the model named an unknown category, or one that its task does not have")
    if (RiskLevel(level) is RiskLevel.SAFE) != (not categories):
        raise UnparsableVerdict(f"the model named {len(categories)} categories of a text that it calls {level}")
    return Answer(RiskLevel(level), categories, found[3] == "Yes" if is_response else None)


def to_verdict(answer: Answer, scores: Mapping[RiskLevel, float] | None) -> Verdict:
    """Return the verdict that an answer comes to.

    Args:
        answer: what the model wrote.
        scores: probability of each level; None where the server gives none: then the level that was named has 1.

    Raises:
        UnparsableVerdict: another level than the one that was named is the most probable.
    """
    labels = PROMPT_LABELS if answer.refusal is None else RESPONSE_LABELS
    risks = scores or {answer.risk: 1.0}
    vector = tuple(risks.get(level, 0.0) for level in labels.risks)
    if max(vector) > risks.get(answer.risk, 0.0):
        hint = "the server must decode greedily"
        raise UnparsableVerdict("the model did not name its most probable label", hint=hint)
    return Verdict(labels, rounded(vector), _shares(labels, answer.categories), answer.refusal, scores is not None)


def _shares(labels: LabelSet, named: tuple[str, ...]) -> tuple[float, ...]:
    """Return a category vector: the earlier a category was named, the larger its share; none named, all alike."""
    weights = {name: len(named) - i for i, name in reversed([*enumerate(named)])} or dict.fromkeys(labels.categories, 1)
    total = sum(weights.values())
    return tuple(weights.get(name, 0) / total for name in labels.categories)


def label_scores(tokens: Sequence[str], candidates: Sequence[Mapping[str, float]]) -> dict[RiskLevel, float] | None:
    """Return the probability of each level at the token that begins the label; None where it cannot be found.

    Args:
        tokens: text of each token that was written.
        candidates: for each of them, likely tokens in its place with their log probabilities.
    """
    written = ""
    for i, token in enumerate(tokens[: len(candidates)]):
        if written.strip() == "Safety:" and _level(token):
            found = [(level, exp(score)) for text, score in candidates[i].items() if (level := _level(text))]
            total = sum(share for _, share in found)
            return {level: sum(p for one, p in found if one is level) / total for level in RiskLevel} if total else None
        written += _plain(token)
    return None


def _level(token: str) -> RiskLevel | None:
    """Return the level whose label begins with a token, such as " Cont"; None where there is none, or more than one."""
    text = _plain(token)
    found = [level for level in RiskLevel if text.strip() and f" {level.value}".startswith(text)]
    return found[0] if len(found) == 1 else None


def _plain(token: str) -> str:
    """Return a token's text where a server shows the vocabulary's own spelling."""
    return token.replace("\u0120", " ").replace("\u010a", "\n")
