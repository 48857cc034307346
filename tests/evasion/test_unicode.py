"""Composed and decomposed text, invisible and bidirectional characters, lookalikes: what holds without a twin."""

import unicodedata
from typing import Literal

import pytest

from guardrail import Guard
from guardrail.encoding import GuardTokenizer
from guardrail.testing import HashEngine
from tests.evasion.watched import assert_like_whole, every_single_cut
from tests.test_laws import play

TEXTS = [
    "Un été à la plage, naïveté déjà vue.",
    "Tiếng Việt có nhiều dấu.",
    "한국어 문장입니다.",
    "Ἐν ἀρχῇ ἦν ὁ λόγος.",
    "d\u0323\u0307 q\u0307\u0323 \u212b \u1e9b\u0323",
]
FORMS: tuple[Literal["NFC"], Literal["NFD"]] = ("NFC", "NFD")


@pytest.fixture
def guard(tokenizer: GuardTokenizer) -> Guard:
    """Random verdicts: equal ones can only come from equal readings."""
    return Guard(HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0.06, seed=2), tokenizer)


def switched(text: str) -> str:
    """Each character in the other form than the one before it."""
    return "".join(
        unicodedata.normalize(FORMS[i % 2], char) for i, char in enumerate(unicodedata.normalize("NFC", text))
    )


@pytest.mark.parametrize("text", TEXTS)
def test_the_form_of_a_text_changes_no_verdict(guard: Guard, text: str) -> None:
    """Composed, decomposed and switching at every character: as many tokens, the same levels, and a stop that shows the
    same text.
    """
    forms = [unicodedata.normalize(form, text) for form in FORMS] + [switched(text)]
    judged = [[token.risk for token in guard.judge_response("Hi", form)] for form in forms]
    assert judged[0] == judged[1] == judged[2]
    shown = {unicodedata.normalize("NFC", play(guard, [form]).released) for form in forms}
    assert len(shown) == 1


@pytest.mark.parametrize("text", TEXTS)
def test_a_form_cut_anywhere_changes_nothing(guard: Guard, text: str) -> None:
    """A mark that comes a delta later than its letter: cut in two at every place, and into single characters."""
    for form in FORMS:
        spelled = unicodedata.normalize(form, text)
        whole = play(guard, [spelled])
        for pieces in [*every_single_cut(spelled), list(spelled)]:
            assert_like_whole(guard, pieces, whole)


@pytest.mark.parametrize(
    "text",
    [
        "a b\u200bo\u200cm\u200db now",
        "a \u202ebmob\u202c \u2066now\u2069",
        "a bоmb nоw",
        "a b\ufe0fo\U000e0101mb",
        "Hi \U000e0062\U000e006f\U000e006d\U000e0062",
    ],
)
def test_disguised_text_is_text(guard: Guard, text: str) -> None:
    """What the model makes of it is the model's, and the twin's; that no cutting changes it is the gate's."""
    whole = play(guard, [text])
    for pieces in [*every_single_cut(text), list(text)]:
        assert_like_whole(guard, pieces, whole)
