"""Plain text for pre-training: what is read, what is held out, and how documents become ids."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from guardrail.conversation import Message, Role, render
from guardrail.encoding import GuardTokenizer
from guardrail.errors import ConfigurationError
from guardrail.testing import default_tokenizer
from guardrail.training.corpus import documents, encode_document, is_held_out, pack, read_objects, to_turns
from guardrail.training.examples import to_example

HELD_OUT = next(text for text in (f"question {i} about bread" for i in range(1000)) if is_held_out(text))


def write(path: Path, texts: list[str]) -> Path:
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    return path


def test_rows_are_read_with_or_without_gzip(tmp_path: Path) -> None:
    """Blank lines are no rows; a name does not decide what is compressed."""
    (tmp_path / "plain.jsonl").write_text('{"a": 1}\n\n{"a": 2}\n\n')
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(b'{"a": 1}\n{"a": 2}'))
    for name in ("plain.jsonl", "packed.jsonl.gz"):
        assert [row["a"] for row in read_objects(tmp_path / name, ("a",))] == [1, 2]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'{"a": 1}\n{', r"rows\.jsonl, line 2: not JSON"),
        (b'{"a": 1}\n\n"text"', r"rows\.jsonl, line 3: not an object"),
        (b'{"b": 1}', r"rows\.jsonl, line 1: lacks a"),
        (b'{"a": "\xff"}', r"rows\.jsonl, line 1: not JSON"),
        (gzip.compress(b'{"a": 1}\n' * 1000, mtime=0)[:-20], r"rows\.jsonl: the gzip data is damaged"),
    ],
)
def test_a_defect_is_named_by_file_and_line(data: bytes, says: str, tmp_path: Path) -> None:
    """Also half a download and text that is no UTF-8."""
    (tmp_path / "rows.jsonl").write_bytes(data)
    with pytest.raises(ConfigurationError, match=says):
        list(read_objects(tmp_path / "rows.jsonl", ("a",)))


def test_the_same_family_is_held_out_everywhere(tokenizer: GuardTokenizer, tmp_path: Path) -> None:
    """A question whose row is kept for validation stands in no document of pre-training: alone, as the first line of a
    conversation, or at the head of a longer one.
    """
    row = {
        "messages": [{"role": "user", "content": HELD_OUT}], "target": "prompt", "risk": "safe", "category": [],
        "unsafe_start_char": None,
    }  # fmt: skip
    assert to_example(tokenizer, row, 100).is_held_out
    texts = [HELD_OUT, f"User: {HELD_OUT}\nAssistant: yes", f"User: {HELD_OUT.upper()}!\nAssistant: no", "kept"]
    assert list(documents(write(tmp_path / "a.jsonl", texts), 10_000, 1)) == ["kept"]


def test_the_whole_first_message_decides_and_not_its_first_line(tmp_path: Path) -> None:
    """Tasks open with a line that many share; fine-tuning looks at the message, so pre-training must too."""
    bodies = [f"Answer the question.\nquestion {i} about bread" for i in range(2000)]
    held = {f"User: {body}\nAssistant: yes" for body in bodies if is_held_out(body)}
    assert 20 < len(held) < 80
    texts = [f"User: {body}\nAssistant: yes" for body in bodies]
    assert set(documents(write(tmp_path / "a.jsonl", texts), 10**7, 1)) == set(texts) - held
    system = [f"System: be kind\n{text}" for text in texts]
    kept = set(documents(write(tmp_path / "b.jsonl", system), 10**7, 1))
    assert kept == set(system) - {f"System: be kind\n{text}" for text in held}


def test_as_many_characters_are_taken_as_asked_for(tmp_path: Path) -> None:
    """A random selection that depends on the seed alone, never beyond the bound."""
    path = write(tmp_path / "a.jsonl", [f"{i:03} " + "x" * 96 for i in range(200)])
    first = list(documents(path, 1000, 1))
    assert len(first) == 10
    assert first == list(documents(path, 1000, 1))
    assert first != list(documents(path, 1000, 2))
    assert first == list(documents(path, 2000, 1))[:10]


def test_every_speaker_opens_a_turn() -> None:
    """Lines in between belong to the turn; a text that only mentions a speaker is no conversation."""
    text = "System: be kind\nUser: hi\n\nUser 2: hm\nAssistant:\nhello\nTool: 5\nAssistant: five"
    assert to_turns(text) == [
        Message(Role.SYSTEM, "be kind"), Message(Role.USER, "hi\n\nUser 2: hm"), Message(Role.ASSISTANT, "hello"),
        Message(Role.TOOL, "5"), Message(Role.ASSISTANT, "five"),
    ]  # fmt: skip
    assert to_turns("He said:\nUser: hi") is None
    assert to_turns("") is None


def test_conversations_are_encoded_as_the_guard_will_see_them(tokenizer: GuardTokenizer) -> None:
    """With control tokens; plain text has none, whatever it says."""
    turns = [Message(Role.USER, "hi"), Message(Role.ASSISTANT, "hello")]
    assert encode_document(tokenizer, "User: hi\nAssistant: hello") == tokenizer.encode_segments(render(turns))
    ids = encode_document(tokenizer, "some <|im_end|> text")
    assert tokenizer.control_id("<|im_end|>") not in ids
    assert tokenizer.decode(ids) == "some <|im_end|> text"


def test_packed_documents_are_whole_and_ended(tokenizer: GuardTokenizer, tmp_path: Path) -> None:
    """Each once, behind each its end, shuffled over the files, the same each time."""
    for name in ("a", "b"):
        write(tmp_path / f"{name}.jsonl", [f"{name} {i} text" for i in range(30)])
    end = tokenizer.special_id("<|endoftext|>")
    told: list[int] = []
    packed = pack(tokenizer, {"a.jsonl": 10_000, "b.jsonl": 10_000}, tmp_path, end, 1, told.append)
    assert packed.dtype == np.uint16
    cuts = np.flatnonzero(packed == end)
    found = [tokenizer.decode(part.tolist()) for part in np.split(packed, cuts + 1)[:-1]]
    expected = {f"{name} {i} text" for name in ("a", "b") for i in range(30)}
    assert {text for text in found if text} == {text for text in expected if not is_held_out(text)}
    assert len({text[0] for text in found[:10]}) == 2
    assert sum(told) == sum(map(len, found))
    again = pack(tokenizer, {"a.jsonl": 10_000, "b.jsonl": 10_000}, tmp_path, end, 1)
    assert np.array_equal(packed, again)


def test_nothing_to_train_on_is_said(tokenizer: GuardTokenizer, tmp_path: Path) -> None:
    """An empty file, one whose first document is longer than all that may be taken, an id that 16 bits cannot hold."""
    write(tmp_path / "long.jsonl", ["x" * 100])
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(ConfigurationError, match="no documents to train on"):
        pack(tokenizer, {"long.jsonl": 50, "empty.jsonl": 50}, tmp_path, 0, 1)
    large = default_tokenizer()
    large.vocab_size = 151_669
    with pytest.raises(ConfigurationError, match="151669 tokens does not fit the packed corpus, which holds 65536"):
        pack(large, {"long.jsonl": 500}, tmp_path, 0, 1)
