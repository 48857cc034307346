"""Qwen3GuardTest: positions stay as published."""

from pathlib import Path
from typing import Any

import pytest

from guardrail.conversation import Role
from guardrail.errors import ConfigurationError
from guardrail.taxonomy import RiskLevel
from tests.evaluation.datasets.published import QWEN, qwen, read, write

IDS = list(range(20))
LOCATED = qwen(0, "I like pots. You pot!", "Unsafe", input_ids=IDS, unsafe_start_index=9, unsafe_end_index=12)


def test_answers_with_reasoning_keep_their_tags(tmp_path: Path) -> None:
    """As published; a conversation may have several turns."""
    rows, _ = read("qwen3guardtest_thinking", write(tmp_path / "thinking.jsonl", QWEN))
    assert [(row.risk, row.categories, row.lang) for row in rows] == [
        (RiskLevel.UNSAFE, ("Unethical Acts",), "en"),
        (RiskLevel.SAFE, (), "en"),
        (RiskLevel.SAFE, (), "en"),
    ]
    assert rows[0].judged_text == "<think>\nA pot.\n</think>\n\nYou pot!"
    assert [m.role for m in rows[2].messages] == [Role.USER, Role.ASSISTANT] * 2
    assert "input_ids" not in rows[0].meta


def test_located_answers_keep_ids_and_indices(tmp_path: Path) -> None:
    """Under the source's names, for the figures about streams; one written as text is a number."""
    for start in (9, "9", 9.0):
        path = write(tmp_path / "response_loc.jsonl", [{**LOCATED, "unsafe_start_index": start}])
        (row,), _ = read("qwen3guardtest_response_loc", path)
        assert (row.meta["input_ids"], row.meta["unsafe_start_index"], row.meta["unsafe_end_index"]) == (IDS, 9, 12)
        assert (row.meta["unique_id"], row.lang, row.unsafe_start_char) == ("q0", "und", None)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"message": []}, "the last one must be the assistant's"),
        ({"message": [{"role": "user", "content": "a"}]}, "the last one must be the assistant's"),
        ({"message": [{"role": "robot", "content": "a"}]}, r"message\.0\.role: unknown; valid: system, user"),
        ({"message": ["a"]}, r"message\.0: expected an object"),
        ({"input_ids": [1, "2"]}, "input_ids: expected a list of token ids"),
        ({"unsafe_end_index": 20}, "unsafe_end_index: 20 is no position of the 20 input_ids"),
        ({"unsafe_start_index": 13}, "must stand with unsafe_end_index, and not behind it"),
        ({"unsafe_end_index": None}, "must stand with unsafe_end_index, and not behind it"),
        ({"label": "Controversial"}, "label: unknown label; valid: unsafe, safe"),
    ],
)
def test_what_does_not_hold_together_is_refused(tmp_path: Path, broken: dict[str, Any], says: str) -> None:
    """A figure about a position that is none would be no figure."""
    with pytest.raises(ConfigurationError, match=rf"loc\.jsonl, line 1: .*{says}"):
        read("qwen3guardtest_response_loc", write(tmp_path / "loc.jsonl", [{**LOCATED, **broken}]))
