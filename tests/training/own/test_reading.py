"""Reading a file of labelled rows: what is read, and everything that is wrong, by line."""

import gzip
import json
from pathlib import Path

import pytest

from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.evaluation.rows import read_rows
from guardrail.taxonomy import RiskLevel
from guardrail.training.own.reading import Found, read_file
from guardrail.training.own.stage import write_rows

SECRET = "private words"


def reading(folder: Path, text: str, name: str = "rows.csv", encoding: str = "utf-8") -> Found:
    """What a file of this text holds."""
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return read_file(path)


def test_a_text_is_judged_both_ways_and_a_response_after_its_prompt(tmp_path: Path) -> None:
    """`text` gives two rows, `prompt` one, and with a `response` that is what is judged."""
    found = reading(
        tmp_path,
        "text,prompt,response,label,category\n"
        "buy gold,,,Unsafe,Advice\n"
        ",how are you?,,SAFE,\n"
        ',what now?,"sell, now",controversial,Advice; Sales \n',
    )
    assert not found.problems
    told = [(row.target, len(row.messages), row.judged_text, row.risk, row.categories) for row in found.rows]
    assert told == [
        (Direction.PROMPT, 1, "buy gold", RiskLevel.UNSAFE, ("Advice",)),
        (Direction.RESPONSE, 1, "buy gold", RiskLevel.UNSAFE, ("Advice",)),
        (Direction.PROMPT, 1, "how are you?", RiskLevel.SAFE, ()),
        (Direction.RESPONSE, 2, "sell, now", RiskLevel.CONTROVERSIAL, ("Advice", "Sales")),
    ]
    assert len({row.id for row in found.rows}) == 4


def test_optional_columns_are_kept_and_others_noted(tmp_path: Path) -> None:
    """id, lang, refusal and unsafe_start_char go into the row; a column that is not read is said to be so."""
    found = reading(
        tmp_path,
        "id,lang,prompt,response,label,category,refusal,unsafe_start_char,reviewer\n"
        "7,de,a,no never,unsafe,X,yes,3,Kim\n",
    )
    (row,) = found.rows
    assert (row.id, row.lang, row.refusal, row.unsafe_start_char) == ("7", "de", True, 3)
    assert found.notes == ["columns that are not read: reviewer"]


def test_a_published_category_has_its_published_name(tmp_path: Path) -> None:
    """Any spelling of one of the nine is that one, so that the start's knowledge of it is kept."""
    assert reading(tmp_path, "prompt,label,category\na,unsafe,self_harm\n").rows[0].categories == (
        "Suicide & Self-Harm",
    )


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (f"{SECRET},dangerous,X", "its label is none of the three"),
        (f"{SECRET},,X", "has no label"),
        (",unsafe,X", "has no text"),
        (f"{SECRET},unsafe,X,Y", "more fields"),
        (f"{SECRET},unsafe", "fewer fields"),
        (f"{SECRET},unsafe,default", "no category can be called 'default'"),
        (f"{SECRET},unsafe,None", "no category can be called 'None'"),
        (f"{SECRET},unsafe,{'x' * 61}", "61 characters"),
        (f"{SECRET},unsafe,a\x07b", "cannot be printed"),
        ("FIRST  words,safe,", "says something else of the same text as line 2"),
        ("first words,unsafe,Other", "says something else of the same text as line 2"),
    ],
)
def test_each_problem_is_told_by_its_line_without_its_text(tmp_path: Path, line: str, what: str) -> None:
    """The others are read all the same; what to do stands beside it."""
    found = reading(tmp_path, f'prompt,label,category\nfirst words,unsafe,X\n"two\nlines",safe,\n{line}\nlast,safe,\n')
    (problem,) = found.problems
    assert problem.line == 5
    assert what in problem.what
    assert problem.todo
    assert SECRET not in problem.what + problem.todo
    assert [row.judged_text for row in found.rows] == ["first words", "two\nlines", "last"]


def test_all_problems_are_found_at_once(tmp_path: Path) -> None:
    """Not only the first: a file is mended in one go."""
    found = reading(tmp_path, "prompt,label\na,bad\nb,safe\n,safe\nc,worse\n")
    assert [problem.line for problem in found.problems] == [2, 4, 5]


def test_rows_that_stand_there_twice_are_counted_once(tmp_path: Path) -> None:
    """The same text, by case and spacing alone another one, under the same label."""
    found = reading(tmp_path, "text,label\nHello  there,safe\nhello there,safe\n")
    assert (len(found.rows), found.n_repeats, found.problems) == (2, 2, [])


@pytest.mark.parametrize(("name", "mark"), [("a.csv", ";"), ("b.csv", "\t"), ("c.tsv", "\t")])
def test_what_a_spreadsheet_writes_is_read(tmp_path: Path, name: str, mark: str) -> None:
    """Semicolons or tabs for commas, a byte-order mark, and column names in capitals."""
    text = mark.join(["Prompt", "Label", "Category"]) + "\r\n" + mark.join(["a, b", "safe", ""]) + "\r\n"
    assert reading(tmp_path, text, name, "utf-8-sig").rows[0].judged_text == "a, b"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("question,label\na,safe\n", "must name a column text"),
        ("prompt,category\na,X\n", "and a column label"),
        ("", "must name a column"),
        ("prompt,label,label\na,safe,safe\n", "label stands there twice"),
        ('prompt,label\n"a,safe\n', "line"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, text: str, says: str) -> None:
    """With what its first line must hold, or the line at which it breaks off."""
    with pytest.raises(ConfigurationError, match=says):
        reading(tmp_path, text)


def test_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    """With what to do in a spreadsheet."""
    with pytest.raises(ConfigurationError, match="CSV UTF-8"):
        reading(tmp_path, "prompt,label\nschön,safe\n", encoding="latin-1")


def test_json_lines_hold_columns_or_rows_of_the_schema(tmp_path: Path) -> None:
    """Both in one file, gzipped; a line that is neither is a problem of its own."""
    row = {
        "id": "r", "source": "s", "lang": "en", "target": "prompt", "risk": "unsafe", "category": ["Own"],
        "messages": [{"role": "user", "content": "x"}],
    }  # fmt: skip
    lines = [
        json.dumps(row), json.dumps({"text": "y", "label": "safe"}), "[1]", "{", json.dumps({**row, "risk": None}),
        json.dumps({**row, "target": "neither"}),
    ]  # fmt: skip
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    found = read_file(path)
    assert [row.id for row in found.rows] == ["r", "line 2", "line 2 (as an answer)"]
    assert [problem.line for problem in found.problems] == [3, 4, 5, 6]


def test_a_column_of_a_table_is_never_a_conversation(tmp_path: Path) -> None:
    """One that counts messages, say, is passed over like any other."""
    found = reading(tmp_path, "prompt,label,messages\na,safe,3\n")
    assert (len(found.rows), found.problems) == (1, [])
    assert found.notes[0] == "columns that are not read: messages"


def test_a_line_that_is_left_out_stands_in_nobodys_way(tmp_path: Path) -> None:
    """Its texts were not met: line 3 contradicts line 2 as an answer, so that line 4 is the first such prompt."""
    found = reading(tmp_path, "text,prompt,response,label\n,,hello,safe\nhello,,,unsafe\n,hello,,unsafe\n")
    assert [problem.line for problem in found.problems] == [3]
    assert [(row.target, row.risk) for row in found.rows] == [
        (Direction.RESPONSE, RiskLevel.SAFE), (Direction.PROMPT, RiskLevel.UNSAFE)
    ]  # fmt: skip
    assert not found.n_repeats


def test_a_safe_row_of_the_schema_names_no_category(tmp_path: Path) -> None:
    """As in a table: else the model would get a category that nothing is learned of. Names are tidied there too."""
    row = {
        "id": "r", "source": "s", "lang": "en", "target": "prompt", "risk": "safe", "category": ["Own"],
        "messages": [{"role": "user", "content": "x"}],
    }  # fmt: skip
    other = [{"role": "user", "content": "y"}]
    risky = {**row, "risk": "unsafe", "category": [" Own  Name", "Own Name"], "messages": other}
    found = reading(tmp_path, f"{json.dumps(row)}\n{json.dumps(risky)}\n", "rows.jsonl")
    assert [row.categories for row in found.rows] == [(), ("Own Name",)]


def test_numbers_of_a_table_with_gaps_are_read(tmp_path: Path) -> None:
    """Parquet files hold whole numbers as 7.0, and what is missing as NaN."""
    line = '{"response": "a, never", "label": "unsafe", "category": NaN, "unsafe_start_char": 3.0, "id": 1234567890.0}'
    (row,) = reading(tmp_path, line, "rows.jsonl").rows
    assert (row.id, row.categories, row.unsafe_start_char) == ("1234567890", (), 3)


def test_written_rows_are_rows_of_the_data_schema(tmp_path: Path) -> None:
    """What training reads is what was found."""
    rows = reading(
        tmp_path, "id,prompt,response,label,category,unsafe_start_char\n1,a,b c,unsafe,X,2\n1,c,,safe,,\n"
    ).rows
    write_rows(tmp_path / "out" / "rows.jsonl", rows)
    assert list(read_rows(tmp_path / "out" / "rows.jsonl")) == rows
    assert [row.id for row in rows] == ["1", "1+"]
