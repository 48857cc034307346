"""What `check`, `stream` and `evaluate` write where, with an engine that finds what is marked; no model is needed.

No fixture of conftest.py is used, since these tests also run against the installed wheel.
"""

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guardrail.cli.main import run
from guardrail.cli.show import RISK_STYLES, painted
from guardrail.guard import Guard
from guardrail.taxonomy import RiskLevel
from guardrail.testing import MarkerEngine, default_tokenizer

TOKENIZER = default_tokenizer()
ENGINE = MarkerEngine(TOKENIZER, {"☠": ("Unsafe", "Violent")})
RISKY = "some words ☠ and more words"
Stream = Callable[..., tuple[int, bytes, str]]


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Stream:
    """`guardrail stream` on a text, in this process: exit code, stdout and stderr."""

    def load(**options: Any) -> Guard:
        return Guard(ENGINE, TOKENIZER, policy=options["policy"], sinks=options["sinks"])

    def stream(text: str, *arguments: str) -> tuple[int, bytes, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        code = run(["stream", *arguments])
        found = capfdbinary.readouterr()
        return code, found.out, found.err.decode()

    monkeypatch.setattr(Guard, "default", load)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    return stream


def test_colours_stay_with_their_characters() -> None:
    """A terminal library that drops control characters must not move the colours behind them."""
    text = "a\r\n\x07\x1b[2J b ☠ and more"
    tokens = Guard(ENGINE, TOKENIZER).judge_response("hi", text)
    shown = painted(text, tokens)
    assert shown.plain == "a␍\n␇␛[2J b ☠ and more"
    risky = next(token for token in tokens if token.risk is RiskLevel.UNSAFE)
    spans = [(s.start, s.end) for s in shown.spans if s.style == RISK_STYLES[RiskLevel.UNSAFE]]
    assert spans[0] == (risky.start, risky.end)
    assert "☠" in shown.plain[risky.start : risky.end]


def test_explain_changes_no_byte_of_a_pipe(stream: Stream) -> None:
    """Tabs, carriage returns and escape sequences pass; the explanation stands on stderr."""
    text = "a\tb\r\nc\x07\x1b[31md and so on\n"
    code, out, err = stream(text, "--explain")
    assert (code, out) == (0, text.encode())
    assert err.startswith("guardrail: allow: Safe")


def test_explain_paints_in_a_terminal(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Released text only, its control characters as pictures, so that a text cannot steer the terminal."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    code, out, _ = stream("a \x1b[2Jb " + RISKY, "--explain")
    assert code == 3
    shown = out.decode()
    assert "␛[2J" in re.sub(r"\x1b\[\d+m", "", shown)
    assert "\x1b[2J" not in shown
    assert "\x1b[32m" in shown
    assert "☠" not in shown


def test_what_is_flagged_is_said_on_stderr(stream: Stream) -> None:
    """In shadow mode all text passes, and one line tells what would have been."""
    code, out, err = stream(RISKY, "--policy", "shadow")
    assert (code, out) == (0, RISKY.encode())
    assert err.startswith("guardrail: flag: shadow mode, would stop; Unsafe, Violent;")
    assert stream("all is well", "--policy", "shadow")[2] == ""


def test_a_record_holds_tokens_with_explain_only(stream: Stream) -> None:
    """As `--help` says."""
    _, plain, _ = stream(RISKY, "--json")
    _, full, _ = stream(RISKY, "--json", "--explain")
    assert json.loads(plain)["tokens"] is None
    record = json.loads(full)
    assert len(record["tokens"]) == record["n_tokens"]


@pytest.fixture
def rows(tmp_path: Path) -> str:
    """A file of one labelled row."""
    row = {
        "id": "1", "source": "made", "lang": "en", "messages": [{"role": "user", "content": "hi"}],
        "target": "prompt", "risk": "safe",
    }  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    return str(path)


def test_a_page_that_cannot_be_written_is_said_before_the_work(
    rows: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not after an hour of judging."""

    def load(**_: Any) -> Guard:
        raise AssertionError("judged all the same")

    monkeypatch.setattr(Guard, "default", load)
    page = tmp_path / "none" / "page.md"
    assert run(["evaluate", rows, "--page", str(page)]) == 2
    assert f"no folder {page.parent} for the page" in capsys.readouterr().err


def test_evaluate_shows_names_whole_and_hashes_short(
    rows: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A policy is called what it is called; 16 digits of its hash tell it from others."""
    rules = 'controversial = "stop"\nunsafe = "stop"\n'
    policy = tmp_path / "policy.toml"
    policy.write_text(f'name = "a policy with a long name"\n[prompt]\n{rules}[response]\n{rules}')
    guard = Guard(ENGINE, TOKENIZER, policy=policy)
    monkeypatch.setattr(Guard, "default", lambda **_: guard)
    assert run(["evaluate", rows, "--policy", str(policy)]) == 0
    assert f"policy a policy with a long name, policy_sha256 {guard.policy.sha256[:16]}\n" in capsys.readouterr().out
