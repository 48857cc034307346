"""The linear teacher sees no answer's own family, and says nothing where the label says more."""

from typing import Any

import pytest

from guardrail.errors import ConfigurationError
from guardrail.taxonomy import RESPONSE_LABELS, RiskLevel
from guardrail.training.teacher import teach

SAFE, UNSAFE = (RESPONSE_LABELS.risks.index(level) for level in (RiskLevel.SAFE, RiskLevel.UNSAFE))


def answer(i: int, text: str, risk: str | None, **changes: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"question {i}"}, {"role": "assistant", "content": text}]
    return {"messages": messages, "target": "response", "risk": risk, "unsafe_start_char": None, **changes}


ROWS = [answer(i, f"the garden is green {i}", "safe") for i in range(20)]
ROWS += [answer(100 + i, f"I will stab him {i}", "unsafe") for i in range(20)]


def test_answers_are_taught_by_the_words_of_others() -> None:
    """Probabilities in the order of the response labels; a wrong label does not teach itself."""
    wrong = answer(200, "the garden is green too", "unsafe")
    taught = teach([*ROWS, wrong])
    assert all(row is not None and sum(row) == pytest.approx(1, abs=1e-5) for row in taught)
    for row, probabilities in zip(ROWS, taught, strict=False):
        assert probabilities is not None
        assert probabilities[SAFE if row["risk"] == "safe" else UNSAFE] > 0.5
    assert taught[-1] is not None
    assert taught[-1][SAFE] > 0.5


def test_prompts_and_known_onsets_have_no_teacher() -> None:
    """Unlabelled answers have."""
    others = [
        {**answer(299, "hi", "safe"), "target": "prompt"},
        answer(300, "fine, then stab", "unsafe", unsafe_start_char=11),
        answer(301, "I will stab her", None),
    ]
    taught = teach([*ROWS, *others])
    assert taught[-3:-1] == [None, None]
    assert taught[-1] is not None
    assert taught[-1][UNSAFE] > 0.5


def test_without_answers_of_two_levels_there_is_no_teacher() -> None:
    """It says so."""
    with pytest.raises(ConfigurationError, match="two risk levels"):
        teach(ROWS[:20])
