"""The service's records: where the settings send them, what they hold, and that a stop is stored when it is told."""

import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from guardrail.decision import Decision
from guardrail.errors import ConfigurationError
from guardrail.records import MemorySink, read_records
from guardrail.service import Settings, load_settings
from guardrail.service.run import _JsonLines
from tests.service.servers import marker_guard, serving


def settings(**records: Any) -> Settings:
    return load_settings(None, records=records)


def ask(url: str, text: str) -> dict[str, Any]:
    answer = httpx.post(f"{url}/v1/moderations", json={"input": text})
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()["results"][0]["guardrail"]
    return found


@pytest.mark.parametrize("name", ["r.jsonl", "r.db"])
def test_a_stop_is_stored_when_its_answer_comes(name: str, tmp_path: Path) -> None:
    """By file or database: whoever got the answer finds the record, while the server runs."""
    path = tmp_path / name
    with serving(settings(path=str(path)), guard=marker_guard()) as server:
        told = ask(server.url, "kill ☠")
        (record,) = read_records(path)
        assert (record.id, record.action) == (told["id"], "stop")
        assert record.text is None
        assert record.positions
        ask(server.url, "hello")
    assert [r.action for r in read_records(path)] == ["stop", "allow"]


def test_records_keep_of_the_text_what_the_settings_say(tmp_path: Path) -> None:
    """Its hash and its harmless characters here."""
    path = tmp_path / "r.db"
    asked = settings(path=str(path), text="redacted", hash_key="0123456789abcdef", positions=False)
    with serving(asked, guard=marker_guard()) as server:
        ask(server.url, "hello")
        ask(server.url, "kill ☠")
    kept = [(r.text, r.text_form, len(r.text_hmac or ""), r.positions) for r in read_records(path)]
    assert kept == [("hello", "redacted", 64, None), ("\u2588" * 6, "redacted", 64, None)]


def test_what_a_sink_loses_and_what_waits_is_a_metric(tmp_path: Path) -> None:
    """Counted once, however many policies share the sinks."""
    asked = load_settings(None, records={"path": str(tmp_path / "r.jsonl")}, routes={"chat": "strict"})
    with serving(asked, guard=marker_guard()) as server:
        ask(server.url, "hello")
        metrics = httpx.get(f"{server.url}/metrics").text
    assert "guardrail_record_failures 0.0" in metrics
    assert "guardrail_records_waiting" in metrics


def test_a_password_is_not_shown() -> None:
    """Neither by --show-config nor by the banner's words."""
    shown = settings(path="postgresql://guard:SECRET@db/records").model_dump_json()
    assert "postgresql://guard:***@db/records" in shown
    assert "SECRET" not in shown


def test_a_database_may_be_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As other secrets are."""
    monkeypatch.setenv("RECORDS_URL", "postgresql://guard:SECRET@db/records")
    assert settings(path="os.environ/RECORDS_URL").records.path == "postgresql://guard:SECRET@db/records"


def test_decisions_may_be_logged_as_json(caplog: pytest.LogCaptureFixture) -> None:
    """Their fields stand in the line, the text does not."""
    with (
        caplog.at_level(logging.INFO, "guardrail.decisions"),
        serving(settings(log=True), guard=marker_guard()) as server,
    ):
        told = ask(server.url, "kill SECRET ☠")
    lines = [json.loads(_JsonLines().format(r)) for r in caplog.records if r.name == "guardrail.decisions"]
    assert [line["guardrail_id"] for line in lines] == [told["id"]]
    assert lines[0]["guardrail_action"] == "stop"
    assert "SECRET" not in json.dumps(lines)


def test_rotation_needs_a_size(tmp_path: Path) -> None:
    """A bound that nothing would ever reach is a mistake."""
    with pytest.raises(ConfigurationError, match="max_files needs max_bytes"):
        settings(path=str(tmp_path / "r.jsonl"), max_files=3)


def test_failures_count_on_when_policies_are_read_again() -> None:
    """The metric never falls, and checks under older guards count too."""

    class Broken(MemorySink):
        def write(self, decision: Decision, text: str) -> None:  # noqa: ARG002  # the protocol's
            raise OSError

    guard = marker_guard(sink=Broken())
    with serving(load_settings(None, routes={"chat": "strict"}), guard=guard) as server:
        service = server.app.state.service
        before = service.guard
        ask(server.url, "hello")
        service.reload_policies()
        assert service.n_record_failures == 1
        before.check_prompt("hello")
        assert service.n_record_failures == 2
