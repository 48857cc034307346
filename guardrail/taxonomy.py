"""The words of the domain: risk levels, categories, what each means and how checkpoints spell it.

A leaf: it imports the standard library only. Sources: the nine categories and their spellings are those of the
Qwen3Guard technical report and model cards; the one-sentence definitions are ours.
"""

from dataclasses import dataclass
from enum import StrEnum


class RiskLevel(StrEnum):
    """How risky a text is. Checkpoints index the levels as they like (Qwen: 0, 1, 2 = Safe, Unsafe, Controversial),
    so code resolves a level by name, never by index.
    """

    SAFE = "Safe"
    CONTROVERSIAL = "Controversial"
    UNSAFE = "Unsafe"

    @property
    def rank(self) -> int:
        """Order of risk: 0 Safe, 1 Controversial, 2 Unsafe; higher is riskier."""
        return _RANKS[self]


_RANKS = {RiskLevel.SAFE: 0, RiskLevel.CONTROVERSIAL: 1, RiskLevel.UNSAFE: 2}


class Category(StrEnum):
    """Kind of harm; the value is the canonical name. A checkpoint may bring categories of its own, which keep
    their own names: everywhere a category is a plain string, and these nine are the published ones.
    """

    VIOLENT = "Violent"
    SEXUAL_CONTENT = "Sexual Content or Sexual Acts"
    SELF_HARM = "Suicide & Self-Harm"
    POLITICAL = "Politically Sensitive Topics"
    PII = "PII"
    COPYRIGHT = "Copyright Violation"
    ILLEGAL_ACTS = "Non-violent Illegal Acts"
    UNETHICAL = "Unethical Acts"
    JAILBREAK = "Jailbreak"


DEFINITIONS: dict[Category, str] = {
    Category.VIOLENT: "Instructions, encouragement or detailed depiction of physical violence, weapons or attacks.",
    Category.SEXUAL_CONTENT: "Sexual imagery, descriptions of sexual acts, or solicitation of them.",
    Category.SELF_HARM: "Encouragement of, or methods for, suicide, self-injury or eating disorders.",
    Category.POLITICAL: "False or divisive claims about governments, elections, history or political figures.",
    Category.PII: "Disclosure of, or a request for, private data that identifies a person.",
    Category.COPYRIGHT: "Reproduction or piracy of protected works without permission.",
    Category.ILLEGAL_ACTS: "Help with crimes without violence: hacking, fraud, theft, drugs, money laundering.",
    Category.UNETHICAL: "Hate, harassment, discrimination, deception or other conduct that wrongs people.",
    Category.JAILBREAK: "An attempt to override the model's instructions or safety rules; prompts only.",
}
"""One sentence for each category."""

_CHECKPOINT_NAMES: dict[Category, str] = {
    Category.VIOLENT: "Violent",
    Category.SEXUAL_CONTENT: "Sexual Content",
    Category.SELF_HARM: "Self-Harm",
    Category.POLITICAL: "Political",
    Category.PII: "PII",
    Category.COPYRIGHT: "Copyright",
    Category.ILLEGAL_ACTS: "Illegal Acts",
    Category.UNETHICAL: "Unethical",
    Category.JAILBREAK: "Jailbreak",
}
"""Names in the label maps of the published checkpoints."""

_OTHER_SPELLINGS: dict[Category, tuple[str, ...]] = {
    Category.VIOLENT: ('"Violent"', "violent"),
    Category.SEXUAL_CONTENT: ("sexual",),
    Category.SELF_HARM: ("self_harm",),
    Category.POLITICAL: ("political",),
    Category.PII: ("Personally Identifiable Information", "pii"),
    Category.COPYRIGHT: ("copyright",),
    Category.ILLEGAL_ACTS: ("illegal",),
    Category.UNETHICAL: ("unethical",),
    Category.JAILBREAK: ("jailbreak",),
}
"""Met elsewhere: the evaluation script's double quotes, the policy text's long form, the data schema's words."""

_BY_SPELLING: dict[str, Category] = {
    spelling: category
    for category in Category
    for spelling in (category.value, _CHECKPOINT_NAMES[category], *_OTHER_SPELLINGS[category])
}


def category_name(spelling: str) -> str:
    """Return the canonical name for any known spelling; an unknown one is a custom category and keeps its name."""
    known = _BY_SPELLING.get(spelling)
    return known.value if known else spelling


def checkpoint_name(category: str) -> str:
    """Return the spelling of the published checkpoints' label maps for a category; a custom one keeps its name."""
    known = _BY_SPELLING.get(category)
    return _CHECKPOINT_NAMES[known] if known else category


@dataclass(frozen=True, slots=True)
class LabelSet:
    """What the outputs of one pair of heads mean, by index.

    Attributes:
        risks: level of each output of the risk head.
        categories: canonical name of each output of the category head. There is no "none": a category is always
            named, and means something only where the risk is not Safe.
    """

    risks: tuple[RiskLevel, ...]
    categories: tuple[str, ...]

    def __post_init__(self) -> None:
        if sorted(self.risks) != sorted(RiskLevel):
            raise ValueError(f"risk labels must be {', '.join(RiskLevel)}, each once; got {list(self.risks)}")
        if not self.categories or len(set(self.categories)) != len(self.categories):
            raise ValueError(f"category labels must be present and distinct; got {list(self.categories)}")


PUBLISHED_RISKS = (RiskLevel.SAFE, RiskLevel.UNSAFE, RiskLevel.CONTROVERSIAL)
"""Risk order of the published checkpoints."""

RESPONSE_LABELS = LabelSet(PUBLISHED_RISKS, tuple(c.value for c in Category if c is not Category.JAILBREAK))
"""Response heads of the published checkpoints: 3 risk levels, 8 categories."""

PROMPT_LABELS = LabelSet(PUBLISHED_RISKS, tuple(c.value for c in Category))
"""Query heads of the published checkpoints: 3 risk levels, 9 categories."""

REFUSALS = ("Refusal: Yes", "Refusal: No")
"""What a Qwen3Guard-Gen model says of a response besides: no kinds of harm, but outputs of the same head."""

GENERATIVE_RESPONSE_LABELS = LabelSet(PUBLISHED_RISKS, (*RESPONSE_LABELS.categories, *REFUSALS))
"""Response heads of a Qwen3Guard-Gen model that runs as an engine; its verdicts are labelled as all others."""
