import json
import sys
from pathlib import Path

import pytest

from guardrail.cli import bench
from guardrail.cli.main import run
from tests.bench.conftest import SMALL


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sizes of the command, smaller."""
    monkeypatch.setattr(bench, "QUICK", SMALL)
    monkeypatch.setattr(bench, "FULL", SMALL)


def test_the_command_prints_a_table_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same figures, for people on stdout and for programs in a file."""
    file = tmp_path / "bench.json"
    assert run(["bench", "--quick", "--model", "default", "--only", "decode,gate", "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    out = capsys.readouterr().out
    assert f"{found['gate']['us_per_delta_p50']:.1f} us" in out
    assert f"{found['decode']['at'][0]['ms']['median']:.2f} ms" in out
    assert "catch_up" not in found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "speed"], "nothing here measures 'speed'"),
        (["--only", ""], "--only names nothing to measure"),
        (["--json", "/no/such/folder/bench.json"], "no folder /no/such/folder"),
        (["--model", "no such model"], "neither a folder nor a hub id"),
        (["--threads", "0"], "threads must be at least 1"),
    ],
)
def test_wrong_usage_is_told_before_the_work(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, with exit code 2."""
    assert run(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_missing_extra_is_told_before_a_gigabyte_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model of the 0.6B shape must be exported."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in [name for name in sys.modules if name.startswith("guardrail.onnx_export")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert run(["bench"]) == 2
    assert "guardrail-stream[export]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
