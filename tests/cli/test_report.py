"""`guardrail report` as users run it: tables, JSON, a page, filters, errors."""

import json
from pathlib import Path
from typing import Any

import pytest

from guardrail.cli.exits import Exit
from guardrail.cli.main import run
from guardrail.encoding import GuardTokenizer
from guardrail.records import Record
from tests.audit.report.made import records


@pytest.fixture(scope="module")
def made(tokenizer: GuardTokenizer) -> list[Record]:
    """Records of nine days."""
    return list(records(tokenizer, 500))


@pytest.fixture
def store(made: list[Record], tmp_path: Path) -> Path:
    """A file of them, the first hundred in a rotated one."""
    path = tmp_path / "decisions.jsonl"
    lines = [record.to_json() + "\n" for record in made]
    (tmp_path / "decisions.jsonl.1").write_text("".join(lines[:100]), "utf-8")
    path.write_text("".join(lines[100:]), "utf-8")
    return path


def told(capsys: pytest.CaptureFixture[str], *arguments: Any) -> dict[str, Any]:
    """Return what the command says in JSON."""
    assert run(["report", *map(str, arguments), "--json"]) == Exit.OK
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_terminal_page_and_json_say_the_same(
    store: Path, made: list[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All records, also of rotated files; nothing on stderr where there is no terminal; no part of a page is left."""
    page = tmp_path / "report.html"
    page.write_text("an old page")
    assert run(["report", str(store), "--html", str(page)]) == Exit.OK
    shown = capsys.readouterr()
    assert not shown.err
    assert shown.out.startswith("decisions.jsonl: 500 records, 2026-11-02")
    figures = told(capsys, store)
    written = page.read_text("utf-8").split('type="application/json" id="figures">')[1].split("</script>")[0]
    assert {**json.loads(written), "made_at": ""} == {**figures, "made_at": ""}
    assert figures["counts"]["stop"] == sum(record.action == "stop" for record in made)
    assert f"  {figures['counts']['allow']}  " in shown.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["decisions.jsonl", "decisions.jsonl.1", "report.html"]


def test_time_and_tenant_choose_records(store: Path, made: list[Record], capsys: pytest.CaptureFixture[str]) -> None:
    """From a moment up to, not including, another; the report says what was asked for."""
    found = told(capsys, store, "--since", "2026-11-04", "--until", "2026-11-06T12:00", "--tenant", "shop")
    meant = [r for r in made if "2026-11-04" <= r.time < "2026-11-06T12:00" and r.tenant == "shop"]
    assert found["n"] == len(meant) > 0
    assert (found["since"], found["until"], found["tenant"]) == (
        "2026-11-04T00:00:00+00:00", "2026-11-06T12:00:00+00:00", "shop",
    )  # fmt: skip
    assert [row["names"] for row in found["tenants"]] == [["shop"]]
    assert told(capsys, store, "--since", "2030-01-01")["n"] == 0


def test_torn_lines_and_old_versions_are_counted_and_said(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged line costs itself alone; a record of version 1 is read, and said to be one."""
    line = json.loads(store.read_text("utf-8").splitlines()[0])
    old = {name: value for name, value in line.items() if name not in ("positions", "text_form", "text_hmac")}
    with store.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**old, "schema_version": 1, "id": "f" * 32}) + "\n")
        file.write('{"torn": \n' + json.dumps({**line, "schema_version": 99}) + "\n")
    found = told(capsys, store)
    assert (found["n"], found["n_unreadable"], found["versions"]) == (501, 2, {"1": 1, "2": 500})
    assert found["unreadable"].startswith("decisions.jsonl, line 402: ")
    run(["report", str(store)])
    assert "2 lines without a readable record" in capsys.readouterr().out


def test_a_time_that_cannot_be_read_lies_in_no_period(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without bounds the record is counted, and said to be missing over time; with bounds it ends no report."""
    line = json.loads(store.read_text("utf-8").splitlines()[0])
    with store.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**line, "time": "yesterday"}) + "\n")
    found = told(capsys, store)
    assert (found["n"], found["n_timeless"]) == (501, 1)
    assert told(capsys, store, "--since", "2026-01-01")["n"] == 500


@pytest.mark.parametrize(
    ("arguments", "told_why"),
    [
        (["missing.jsonl"], "no record file"),
        (["STORE", "--since", "yesterday"], "is no time"),
        (["STORE", "--html", "nowhere/report.html"], "no folder"),
        (["STORE", "--html", "."], "is a folder"),
    ],
)
def test_wrong_use_ends_in_one_line(
    arguments: list[str], told_why: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Exit code 2, and what to do."""
    monkeypatch.chdir(tmp_path)
    assert run(["report", *(str(store) if one == "STORE" else one for one in arguments)]) == Exit.USAGE
    shown = capsys.readouterr()
    assert told_why in shown.err
    assert shown.err.count("\n") == 1


def test_a_database_is_told_without_its_password(
    made: list[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SQLite, by file and by URL: the figures are those of the file of lines; the name holds no way in."""
    from guardrail.cli.report import _name
    from guardrail.records.sql import SqlStore

    path = tmp_path / "decisions.db"
    store = SqlStore(f"sqlite:///{path}")
    store.append(made, sync=False)
    store.close()
    by_file, by_url = told(capsys, path), told(capsys, f"sqlite:///{path}")
    assert by_file["n"] == len(made)
    assert by_file["counts"] == by_url["counts"]
    assert by_file["source"] == "decisions.db"
    assert (
        _name("postgresql+psycopg://me:secret@db:5432/guard?password=secret")
        == "postgresql+psycopg://me:***@db:5432/guard?password=***"
    )
