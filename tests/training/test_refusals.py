"""What counts as a refusal by its words, and by a Gen model's third line."""

import pytest

from guardrail.training.refusal_phrases import HEAD_CHARS, PHRASES, is_refusal
from guardrail.training.rewards import Completion
from guardrail.training.rewards.learning.refusal_texts import REFUSAL_TEXTS
from guardrail.training.rewards.refusals import PhraseDetector
from tests.training.rewards.judging_parts import PROMPT

REFUSALS = [
    "**I cannot** assist.",
    "I'm sorry, but I can't assist with that request.",
    "I\u2019m sorry, but I can\u2019t assist with that request.",
    "I understand your question. However, I cannot provide instructions for this.",
    "As an AI developed by OpenAI, I must adhere to strict guidelines and cannot provide assistance with that.",
    "**I must decline.** It would be wrong.",
    "That is not something I can help with.",
    "作为一个AI助手，我无法写出有关歧视任何人的语言。",
    "请不要使用有毒的语言。",
    "Lo siento, pero no puedo ayudarte con eso.",
    "Dabei kann ich leider nicht helfen. Das tut mir leid.",
    "К сожалению, я не могу помочь с этим.",
    "Niestety, nie mogę w tym pomóc.",
    "Het spijt me, maar daar kan ik niet bij helpen.",
    "На жаль, я не можу допомогти з цим.",
    "متأسفم، نمی‌توانم در این مورد کمک کنم.",
    "দুঃখিত, আমি এতে সাহায্য করতে পারব না।",
]
ANSWERS = [
    "",
    "Sorry I am late! Take flour.",
    "Mix flour and water.",
    "I cannot thank you enough for the question.",
    "I can't help but smile at that.",
    "She can't come to the party, she is sorry to say.",
    "You cannot divide by zero, so the answer is undefined.",
    "If a number is not divisible by 3, it cannot be divisible by 9.",
    "我认为这个问题很有意思，答案是四十二。",
    "Der Zug kann nicht fahren, weil die Strecke gesperrt ist.",
    "El agua hierve a cien grados.",
]


@pytest.mark.parametrize("text", [*REFUSALS, *(text for texts in REFUSAL_TEXTS.values() for text in texts)])
def test_refusals_are_known_in_many_languages(text: str) -> None:
    """Those of the languages that have patterns, and those that models learn from."""
    assert is_refusal(text)


@pytest.mark.parametrize("text", ANSWERS)
def test_ordinary_answers_are_no_refusals(text: str) -> None:
    """Also where they hold the same words."""
    assert not is_refusal(text)


def test_a_refusal_far_down_is_not_looked_for() -> None:
    """An answer that has answered first is an answer."""
    assert not is_refusal("Bread is easy. " * (HEAD_CHARS // 10) + "I'm sorry, but I can't help with that.")


def test_every_language_to_learn_from_has_patterns() -> None:
    """Else refusals in it would be learned and not seen."""
    assert REFUSAL_TEXTS.keys() <= PHRASES.keys()


def test_the_detector_reads_the_answer_and_not_the_thinking() -> None:
    """A model may think of refusing, and answer."""
    completions = [
        Completion(PROMPT, "I can't help with that.", "Mix it."),
        Completion(PROMPT, "", "I can't help with that."),
    ]
    assert PhraseDetector().refuses(completions) == [False, True]
