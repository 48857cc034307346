import contextlib
import csv
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.audit.intervals import wilson
from guardrail.cli.main import run
from guardrail.errors import ConfigurationError
from guardrail.training.translate.review import review
from guardrail.training.translate.sheet import VERDICTS, Entry, is_same, parse_sheet, read_sheet, to_csv, write_sheet
from tests.strategies import texts

FORMULAS = (
    "a;=1",
    "a;'=1",
    "a\n'\"-1",
    "a;\t;''@1",
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1",
    "'=1",
    "'",
    '=HYPERLINK("x")',
)


HEAD = "id,lang,source,translation,verdict,comment\n"


def whole(text: str) -> str:
    """Return a text without halves of characters, which no file can hold."""
    return text.encode(errors="replace").decode()


CELLS = st.sampled_from(FORMULAS) | texts().map(whole)
CODES, GIVEN = st.sampled_from(["de", "zh-TW"]), st.sampled_from(["", *VERDICTS])
ENTRIES = st.builds(Entry, CELLS.filter(str.strip), CODES, CELLS, CELLS, GIVEN, CELLS)


@given(st.lists(ENTRIES, unique_by=lambda one: one.id, max_size=6))
def test_a_sheet_is_read_as_it_was_written(entries: list[Entry]) -> None:
    """Whatever stands in the texts."""
    assert parse_sheet(to_csv(entries), "sheet.csv") == entries


@given(st.binary(max_size=200) | texts().map(lambda text: (HEAD + text).encode(errors="replace")))
def test_whatever_is_read_is_entries_or_refused(data: bytes) -> None:
    """Never another error."""
    with contextlib.suppress(ConfigurationError):
        parse_sheet(data, "sheet.csv")


@pytest.mark.parametrize("text", FORMULAS[4:])
def test_no_cell_begins_as_a_formula(text: str, tmp_path: Path) -> None:
    """A spreadsheet runs nothing of what a model wrote."""
    write_sheet(tmp_path / "sheet.csv", [Entry(text, "de", text, text, "", text)])
    with (tmp_path / "sheet.csv").open(encoding="utf-8-sig", newline="") as file:
        cells = list(csv.reader(file))[1]
    assert [cell[0] for cell in cells if cell and cell != "de"] == ["'"] * 4


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "＝"])
@pytest.mark.parametrize("before", [";", "\t", "\n", "\r\n", ';"', ";'", ';""\''])
def test_no_part_of_a_cell_begins_as_a_formula(before: str, sign: str) -> None:
    """Also where a spreadsheet takes semicolons, tabs or line ends for the ends of cells; read back it is as before."""
    entry = Entry("a", "de", f"x{before}{sign}HYPERLINK(1)", f"x;{before}{sign}1", "ok", before + sign)
    data = to_csv([entry])
    for part in re.split(r"[;\t\r\n]", data.decode("utf-8-sig")):
        assert not part.strip('"').startswith(sign)
    assert parse_sheet(data, "sheet.csv") == [entry]


def test_the_file_is_marked_as_utf_8_and_long_cells_are_cut(tmp_path: Path) -> None:
    """Excel takes it for UTF-8 by its mark, and holds no more than 32,767 characters in a cell."""
    write_sheet(tmp_path / "sheet.csv", [Entry("a", "de", "x" * 50_000, "ü")])
    assert (tmp_path / "sheet.csv").read_bytes().startswith(b"\xef\xbb\xbfid,lang,")
    (one,) = read_sheet(tmp_path / "sheet.csv")
    assert one.source.endswith("x [cut]")
    assert len(one.source) < 32_767


@pytest.mark.parametrize(
    "data",
    [
        (HEAD + "p/de,de,a,b,OK,\nq/de,de,a,b,Harm Changed,\n").encode(),
        (HEAD + "p/de,de,a,b, ok. ,\n\n,,,,,\nq/de,de,a,b,harm_changed,gut\n\n").encode("utf-8-sig"),
        (HEAD.replace(",", ";") + 'p/de;de;"a;\nb";b;Ok;\r\nq/de;de;a;b;HARM-CHANGED;\r\n').encode(),
        ("sep=;\r\n" + HEAD.replace(",", ";") + "p/de;de;a;b;ok\nq/de;de;a;b;harm\u00a0changed\n").encode(),
        (HEAD.replace(",", "\t") + "p/de\tde\ta\tb\tok\t\nq/de\tde\ta\tb\tharm changed\t\n").encode("utf-16"),
        (HEAD + "p/de,de,a,b,ok,für\nq/de,de,a,b,harm changed,naïve\n").encode("cp1252"),
        b"Verdict , ID,LANG,who\nok,p/de,de,me\nharm changed,q/de,de,me\n",
        (HEAD + "p/de,de,a,b,ok,\nq/de,de,a,b,harm changed,\nq/de,de,a,b,,\np/de,de,a,b,OK,twice\n").encode(),
    ],
)  # fmt: skip
def test_sheets_are_read_as_spreadsheets_save_them(data: bytes, tmp_path: Path) -> None:
    """Separators, encodings, blank rows, cases, moved columns and copied rows are people's and their tools'."""
    path = tmp_path / "sheet.csv"
    path.write_bytes(data)
    assert [(one.id, one.lang, one.verdict) for one in read_sheet(path)] == [
        ("p/de", "de", "ok"), ("q/de", "de", "harm changed"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "lacks the column id"),
        (b'"id,lang,source,translation,verdict,comment"\n', "lacks the column id"),
        (b"id;lang;comment\n", "lacks the column verdict"),
        ((HEAD + "p,de,a,b,okay-ish secret,\n" * 7).encode(), r"no verdict that is known.*: 2, 3, 4, 5, 6 and 2 more"),
        ((HEAD + "p,de,a,b,ok,\np,de,a,b,wrong meaning,\n").encode(), "contradicts an earlier row of the same id: 3"),
    ],
)
def test_what_is_no_filled_sheet_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    """By file and row, without what stands in it."""
    path = tmp_path / "sheet.csv"
    path.write_bytes(data)
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_sheet(path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_a_long_or_foreign_text_is_known_again(encoding: str) -> None:
    """Cut in the sheet, marked against formulas, or saved in a character set that lacks its letters."""
    text = "\n- 我怎样烤面包；\n=1 für\n" + "x" * 40_000
    saved = to_csv([Entry("a", "zh", "", text)]).decode("utf-8-sig").encode(encoding, errors="replace")
    (one,) = parse_sheet(saved, "sheet.csv")
    assert is_same(one.translation, text)
    assert not is_same(one.translation, text[5:])


def filled(path: Path) -> None:
    verdicts = ["ok"] * 17 + ["wrong meaning"] * 2 + ["harm changed"] + [""] * 5
    entries = [Entry(f"{i}/de", "de", "a", "b", verdict) for i, verdict in enumerate(verdicts)]
    write_sheet(path, [*entries, *(Entry(f"{i}/zh", "zh", "a", "b", "ok") for i in range(4)), Entry("9/fr", "fr")])


def test_a_review_gives_error_rates_with_intervals(tmp_path: Path) -> None:
    """By language and overall, of the rows that somebody looked at."""
    filled(tmp_path / "sheet.csv")
    found = review(tmp_path / "sheet.csv")
    german = found.by_lang["de"]
    assert (german.n, german.n_reviewed, german.errors) == (25, 20, wilson(3, 20))
    assert (found.overall.n, found.overall.errors) == (30, wilson(3, 24))
    assert found.by_lang["zh"].errors.high == pytest.approx(0.49, abs=0.01)
    assert found.wrong == {"17/de": "wrong meaning", "18/de": "wrong meaning", "19/de": "harm changed"}
    kept = json.loads((tmp_path / "review.json").read_text())
    assert kept["wrong"] == found.wrong
    assert kept["rates"]["de"]["error_rate"] == pytest.approx(0.15)
    assert kept["rates"]["fr"]["error_rate"] is None


def test_the_command_prints_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table, the wrong ids, or one JSON object."""
    filled(tmp_path / "sheet.csv")
    assert run(["train", "review", str(tmp_path / "sheet.csv")]) == 0
    shown = capsys.readouterr().out
    assert "15.0%" in shown
    assert "harm changed: 19/de" in shown
    assert run(["train", "review", str(tmp_path / "sheet.csv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rates"]["all"]["reviewed"] == 24
