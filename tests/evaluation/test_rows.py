"""Labelled rows: what is read, what is refused, what is counted."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.evaluation.protocol import FileUse, Protocol
from guardrail.evaluation.rows import Tally, read_rows
from guardrail.taxonomy import RiskLevel


def line(**changes: Any) -> str:
    row: dict[str, Any] = {
        "id": "1", "source": "made", "lang": "en", "messages": [{"role": "user", "content": "hi"}],
        "target": "prompt", "risk": "safe", "category": [],
    }  # fmt: skip
    return json.dumps({**row, **changes})


ANSWER = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "you fool"}]


def test_plain_and_gzipped_files_are_read_alike(tmp_path: Path) -> None:
    """The content decides, not the name."""
    plain, packed = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    text = line() + "\n\n" + line(id="2", target="response", messages=ANSWER, risk="unsafe", category=["unethical"])
    plain.write_text(text)
    packed.write_bytes(gzip.compress(text.encode()))
    rows = list(read_rows(plain))
    assert rows == list(read_rows(packed))
    assert [r.target for r in rows] == [Direction.PROMPT, Direction.RESPONSE]
    assert (rows[1].risk, rows[1].categories) == (RiskLevel.UNSAFE, ("Unethical Acts",))


def test_unlabelled_rows_are_counted_and_left_out(tmp_path: Path) -> None:
    """They are no figures."""
    path, tally = tmp_path / "a.jsonl", Tally()
    path.write_text(line(risk=None) + "\n" + line())
    assert len(list(read_rows(path, tally=tally))) == 1
    assert (tally.n_lines, tally.n_unlabelled) == (2, 1)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("{", "JSON"),
        (line(risk="bad"), "risk"),
        (line(target="response"), "assistant"),
        (line(target="response", messages=ANSWER, unsafe_start_char=99), "unsafe_start_char"),
        (line(extra=1), "extra: unknown key; valid: id, source, lang, messages"),
        (line(messages=[{"role": "user", "content": "hi", "name": "x"}]), "0.name: unknown key; valid: role, content"),
        (line(messages=[]), "messages"),
    ],
)
def test_a_bad_line_is_named_without_its_text(tmp_path: Path, bad: str, says: str) -> None:
    """File, line and key; with `skip_bad` the rest is read and the line counted."""
    path, tally = tmp_path / "a.jsonl", Tally()
    path.write_text(line() + "\n" + bad + "\n" + line())
    with pytest.raises(ConfigurationError, match=rf"a\.jsonl, line 2: .*{says}"):
        list(read_rows(path))
    assert len(list(read_rows(path, tally=tally, skip_bad=True))) == 2
    assert tally.n_bad == 1


def test_damaged_and_missing_files_are_clear_errors(tmp_path: Path) -> None:
    """Neither is a traceback of the library."""
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress((line() + "\n").encode() * 100)[:-20])
    with pytest.raises(ConfigurationError, match="damaged"):
        list(read_rows(path))
    with pytest.raises(ConfigurationError, match=r"none\.jsonl"):
        list(read_rows(tmp_path / "none.jsonl"))


def test_a_protocol_takes_languages_user_turns_and_samples(tmp_path: Path) -> None:
    """What a protocol file may say about a file."""
    answer = line(target="response", messages=ANSWER)
    (tmp_path / "a.jsonl").write_text("\n".join([answer, line(lang="de"), *[line(id=str(i)) for i in range(50)]]))
    plan = tmp_path / "p.toml"
    plan.write_text(f'data_dir = "{tmp_path}"\nlimit = 10\n[files]\n"a.jsonl" = {{ langs = ["de"] }}')
    assert [row.lang for row in Protocol.from_file(plan).read(Tally())] == ["de"]
    everything = Protocol(files={str(tmp_path / "a.jsonl"): FileUse(user_turns=True)}, limit=None)
    rows = everything.read(Tally())
    assert len(rows) == 53
    assert rows[-1].source == "made (user turn)"
    assert len(everything.model_copy(update={"limit": 10}).read(Tally())) >= 10


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("limits = 1\n[files]\n", r"p\.toml: limits: unknown key; valid: files, datasets, data_dir, limit, ordinary"),
        (
            '[files]\n"a" = { lang = ["de"] }\n',
            r"files\.a\.lang: unknown key; valid: langs, left_out, group, user_turns",
        ),
        ("limit = 0\n[files]\n", r"limit: Input should be greater than or equal to 1"),
    ],
)
def test_an_unknown_key_or_impossible_value_of_a_protocol_is_named(text: str, says: str, tmp_path: Path) -> None:
    """A key with the valid ones of its own table."""
    plan = tmp_path / "p.toml"
    plan.write_text(text)
    with pytest.raises(ConfigurationError, match=says):
        Protocol.from_file(plan)
