"""Qwen3GuardTest: positions stay as published, and become a character where they can be mapped."""

import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from guardrail.conversation import Message, Role
from guardrail.encoding import GuardTokenizer
from guardrail.errors import ConfigurationError
from guardrail.evaluation.datasets import add_onset
from guardrail.evaluation.datasets.making import response_row, turn
from guardrail.evaluation.rows import Row
from guardrail.taxonomy import RiskLevel
from tests.evaluation.datasets.published import QWEN, qwen, read, write

IDS = list(range(20))
_CHARACTERS = st.characters(codec="utf-8")
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


def located(tokenizer: GuardTokenizer, before: str, onset: str) -> Row:
    """Return a row whose ids are the tokenizer's of a whole conversation, with an onset at a token's start."""
    head = tokenizer.encode_plain(f"user\nAsk\nassistant\n{before}").ids
    rest = tokenizer.encode_plain(f"{onset}\n").ids
    end = [tokenizer.control_id("<|im_end|>")]
    meta = {"input_ids": [*head, *rest, *end], "unsafe_start_index": len(head), "unsafe_end_index": len(head)}
    row = response_row(turn("Ask", before + onset), True, meta=meta)
    assert row
    return row


@given(st.text(_CHARACTERS, max_size=20), st.text(_CHARACTERS, min_size=1, max_size=20))
def test_the_onset_is_where_the_position_is(tokenizer: GuardTokenizer, before: str, onset: str) -> None:
    """Whatever the writing: tokens may hold parts of characters."""
    assume(onset.strip() and "\ufffd" not in before + onset)
    assume(unicodedata.is_normalized("NFC", before + onset))
    row = add_onset(located(tokenizer, before, onset), tokenizer)
    assert row.unsafe_start_char == len(before)


def test_a_position_inside_a_character_is_that_character(tokenizer: GuardTokenizer) -> None:
    """A sentence of signs that are several tokens may begin in one."""
    row = located(tokenizer, "I like pots. ", "🦓 pot!")
    start = row.meta["unsafe_start_index"]
    assert tokenizer.decode(row.meta["input_ids"][: start + 1]).endswith("\ufffd")
    inside = {"unsafe_start_index": start + 1, "unsafe_end_index": start + 1}
    assert add_onset(replace(row, meta={**row.meta, **inside}), tokenizer).unsafe_start_char == len("I like pots. ")


def test_what_cannot_be_mapped_stays_without(tokenizer: GuardTokenizer) -> None:
    """No position, another tokenizer's ids, an answer that the ids do not hold, a position before the answer."""
    row = located(tokenizer, "I like pots. ", "You pot!")
    assert add_onset(row, tokenizer).unsafe_start_char == len("I like pots. ")
    other = (
        replace(row, meta={}),
        replace(row, meta={**row.meta, "input_ids": [i + 1 for i in row.meta["input_ids"]][:-1]}),
        replace(row, messages=(row.messages[0], Message(Role.ASSISTANT, "Another answer"))),
        replace(row, meta={**row.meta, "unsafe_start_index": 0}),
    )
    assert [add_onset(each, tokenizer) for each in other] == list(other)
