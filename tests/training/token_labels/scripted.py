"""A scripted `Ask` for the stage's tests: a judge, a model that writes on, and a guard, as a test tells them."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.errors import CallRefused
from guardrail.taxonomy import RiskLevel
from guardrail.testing import default_tokenizer_file
from guardrail.training.recipe.calls import Call, Reply, Text
from guardrail.training.recipe.prompts import load_prompts
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.token_labels.onsets import FindOnset
from guardrail.training.token_labels.settings import RolloutSettings, TokenLabelsSettings

TOKENIZER = default_tokenizer_file().read_text("utf-8")
PROMPTS = load_prompts("token_labels")

SAFE = "Safety: Safe\nCategories: None\nRefusal: No"
UNSAFE = "Safety: Unsafe\nCategories: Violent\nRefusal: No"
CONTROVERSIAL = "Safety: Controversial\nCategories: Unethical Acts\nRefusal: No"
UNREADABLE = "I would rather not say."

RISKY, HARMLESS, STRANGE = "<risky>", "<harmless>", "<strange>"
"""Ends of rollouts: what the guard is to say of them."""

_SAYS = {RISKY: UNSAFE, HARMLESS: SAFE, STRANGE: UNREADABLE}


@dataclass(slots=True)
class Script:
    """Answers as told; keeps every call.

    Attributes:
        judged: from the beginning of the answer to what the judge says of it.
        rollouts: from the beginning of the answer to the ends of the rollouts, one a sample.
        refuses: calls that are refused.
        calls: in order.
    """

    judged: Callable[[str], str]
    rollouts: Callable[[str], list[str]]
    refuses: Callable[[Call], bool] = lambda _: False
    calls: list[Call] = field(default_factory=list)

    async def __call__(self, call: Call) -> Reply:
        """See `Ask`."""
        self.calls.append(call)
        if self.refuses(call):
            raise CallRefused("too long")
        if call.model == "judge":
            said = self.judged(_beginning_shown(call))
            texts = [said if said == UNREADABLE else json.dumps({"risk": said})]
        elif call.model == "guard":
            end = f"<{call.messages[-1].content.rpartition('<')[2]}"
            texts = [_SAYS[end]]
        else:
            beginning = call.messages[-1].content if call.messages else call.prompt.rpartition("Assistant: ")[2]
            texts = [f"{i}{end}" for i, end in enumerate(self.rollouts(beginning))]
        return Reply(tuple(map(Text, texts)), n_input=10, n_output=2 * len(texts))

    def n_calls(self) -> Counter[str]:
        """Calls by model."""
        return Counter(call.model for call in self.calls)


def _beginning_shown(call: Call) -> str:
    shown = call.messages[1].content.rpartition("as JSON:\n")[2]
    return str(json.loads(shown))


def onset_script(judge_from: int, votes_from: int, n: int = 20) -> Script:
    """A judge that finds beginnings of so many characters risky, and rollouts that turn risky from so many on."""
    return Script(
        lambda text: "unsafe" if len(text) >= judge_from else "safe",
        lambda text: [RISKY if len(text) >= votes_from else HARMLESS] * n,
    )


def settings_of(**changes: object) -> TokenLabelsSettings:
    """Settings with one base model of 20 samples, a guard and a judge."""
    values = {"rollouts": (RolloutSettings("base", samples=20),), "guard": "guard", "judge": "judge"}
    return TokenLabelsSettings(**{**values, **changes})  # type: ignore[arg-type]  # names and types as in the dataclass


def work_of(**changes: object) -> FindOnset:
    """The stage's work with these settings."""
    return FindOnset(settings_of(**changes), PROMPTS, TOKENIZER)


def row_of(answer: str, number: int = 0, **changes: object) -> RecipeRow:
    """An unsafe answer."""
    messages = (Message(Role.USER, "Tell me."), Message(Role.ASSISTANT, answer))
    values = {"risk": RiskLevel.UNSAFE, "categories": ("Violent",), **changes}
    return RecipeRow(f"r{number}", f"r{number}", "test", "en", messages, Direction.RESPONSE, **values)  # type: ignore[arg-type]  # as above
