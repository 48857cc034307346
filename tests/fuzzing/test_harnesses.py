"""The harnesses of fuzz/ hold without the fuzzer: over the small corpus, and over a few inputs of hypothesis."""

import importlib
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fuzz.run import HARNESSES, SEEDS
from guardrail.actions import Action
from guardrail.records import Positions, positions, read_record
from guardrail.stream_protocol import ReleaseEvent
from guardrail.taxonomy import RiskLevel
from guardrail.verdict import Verdict

NAMED = pytest.mark.parametrize("name", HARNESSES)


@pytest.fixture(autouse=True)
def loud_log() -> Iterator[None]:
    """A harness may silence the package's log for its process; the tests behind this one want to hear it."""
    logger = logging.getLogger("guardrail")
    before = logger.level
    yield
    logger.setLevel(before)


def harness(name: str) -> Any:
    """Import a harness."""
    return importlib.import_module(f"fuzz.fuzz_{name}")


def replay(name: str) -> None:
    """Run a harness over its corpus."""
    inputs = sorted((SEEDS / name).iterdir())
    assert inputs
    for path in inputs:
        harness(name).one_input(path.read_bytes())


@NAMED
def test_few_inputs_of_hypothesis_break_no_harness(name: str) -> None:
    """A short run without coverage."""
    harness(name).holds()


def test_harnesses_need_no_fuzzer() -> None:
    """atheris has wheels for one platform only; the tests run everywhere."""
    for name in HARNESSES:
        harness(name)
    assert "atheris" not in sys.modules


def test_the_corpus_is_small_and_belongs_to_harnesses() -> None:
    """A few kB, in folders of their names."""
    folders = [folder for folder in SEEDS.iterdir() if folder.is_dir()]
    assert sorted(folder.name for folder in folders) == sorted(HARNESSES)
    assert sum(path.stat().st_size for folder in folders for path in folder.iterdir()) < 40_000


def release_all(gate: Any, token: Any) -> str:
    """A gate that looks at nothing."""
    return str(gate._release_to(token.end))


def unchecked(_kind: Any, data: bytes) -> Any:
    """Positions without the edge that translates errors."""
    return Positions(*positions._unpacked(data))


async def see_nothing(*_: Any) -> None:
    """A screener that lets all pass."""


def misplace(live: Any, text: str) -> None:
    """A stream that tells wrong places."""
    live._add(ReleaseEvent, start=1, end=1 + len(text), text=text)


def softer(_rules: Any, verdict: Verdict) -> Action:
    """Rules that let the worst pass."""
    return Action.ALLOW if verdict.risk is RiskLevel.UNSAFE else Action.FLAG


BREAKAGES: dict[str, tuple[str, Any]] = {
    "checkpoint": ("guardrail.checkpoint._check_tensors", lambda *_: None),
    "encoder": ("guardrail.encoding._final_tokens", lambda encoding, text: (len(encoding.ids), len(text))),
    "gate": ("guardrail.gate.Gate.judge", release_all),
    "manifest": ("guardrail.exported._check_files", lambda *_: None),
    "mcp": ("guardrail.adapters.mcp.screener.Screener.stop_in", see_nothing),
    "policy": ("guardrail.policy.Rules.action", softer),
    "positions": ("guardrail.records.Positions.from_bytes", classmethod(unchecked)),
    "records": ("guardrail.records.reading._parsed", lambda line: read_record(json.loads(line))),
    "service": ("guardrail.service.chat._read", json.loads),
    "stream_api": ("guardrail.service.live_stream.LiveStream._tell_release", misplace),
    "tokenizer": ("guardrail.encoding._check_rules", lambda _spec: None),
    "unescape": ("guardrail.json_text._whole", len),
    "upstream": ("guardrail.gate.Gate.judge", release_all),
    "wire": ("guardrail.gate.Gate.judge", release_all),
}
"""Harness to what is broken under it, and how."""


@NAMED
def test_the_corpus_breaks_a_harness_only_with_its_code(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No input of the small corpus breaks it; with the code under test broken, one does."""
    replay(name)
    monkeypatch.setattr(*BREAKAGES[name])
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever breaks it: nothing may come out of a harness
        replay(name)


def test_what_was_found_and_what_was_learnt_is_not_committed() -> None:
    """The fuzzer's own folders are ignored."""
    ignored = (Path(__file__).resolve().parents[2] / ".gitignore").read_text("utf-8").split()
    assert {"/fuzz/found/", "/fuzz/grown/"} <= set(ignored)
