"""The logging sink: a log record for each decision, and no word of the text."""

import json
import logging
from typing import Any

import pytest

from guardrail import Action, Guard, GuardTokenizer, Policy, Rules, ToolCall, ToolRules
from guardrail.records import LogSink, Record
from guardrail.records.signals import FIELDS, flat_fields
from guardrail.testing import FailingEngine, MarkerEngine, raising

MARKERS = {"☠": ("Unsafe", "Violent"), "☢": ("Controversial", "Unethical Acts")}
SECRET = "xyzzy"
LOGGER = "guardrail.decisions"
DEFAULT = vars(logging.makeLogRecord({}))


@pytest.fixture
def make_guard(tokenizer: GuardTokenizer) -> Any:
    """Make a guard that logs; keywords change the policy."""

    def make(*, fails: bool = False, **changes: Any) -> Guard:
        engine: Any = MarkerEngine(tokenizer, MARKERS)
        if fails:
            engine = FailingEngine(engine, at_step=0, breakage=raising(RuntimeError(SECRET)))
        return Guard(engine, tokenizer, policy=Policy(**changes), sinks=[LogSink()])

    return make


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """What a log record has beyond those of every log record, and what formatters of other handlers leave in it."""
    return {name: value for name, value in vars(record).items() if name not in {*DEFAULT, "message", "asctime"}}


LOUDNESS: dict[str, tuple[int, str, str, dict[str, Any]]] = {
    "allow": (logging.INFO, "prompt allow: clear, Safe", "hello", {}),
    "stop": (logging.WARNING, "prompt stop: verdict, Unsafe, Violent", "☠", {}),
    "flag": (
        logging.WARNING, "prompt flag: verdict, Controversial, Unethical Acts", "☢",
        {"prompt": Rules(controversial=Action.FLAG)},
    ),
    "shadow": (logging.WARNING, "prompt flag (would stop): verdict, Unsafe, Violent", "☠", {"enforce": False}),
    "failure": (logging.ERROR, "prompt stop: failure, EngineError", "hello", {"fails": True}),
    "open failure": (
        logging.ERROR, "prompt flag: failure, EngineError", "hello", {"fails": True, "on_failure": Action.FLAG}
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", LOUDNESS)
def test_a_decision_is_as_loud_as_it_is_grave(make_guard: Any, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    """One log record each, with its level and a line that says what was done about what, and why."""
    level, line, text, changes = LOUDNESS[kind]
    with caplog.at_level(logging.DEBUG, LOGGER):
        decision = make_guard(**changes).check_prompt(text)
    (record,) = [one for one in caplog.records if one.name == LOGGER]
    assert record.levelno == level
    assert record.getMessage() == f"{line} [{decision.id}]"


def test_a_question_to_a_person_is_a_warning(make_guard: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A tool call that waits is not let go."""
    with caplog.at_level(logging.DEBUG, LOGGER):
        make_guard(tools=ToolRules(controversial=Action.ASK)).check_tool_call("hi", ToolCall("read", '{"a": "☢"}'))
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()[:13]) == (logging.WARNING, "tool_call ask")


def test_the_fields_stand_on_the_log_record(make_guard: Any, caplog: pytest.LogCaptureFixture) -> None:
    """All that the record carries, flat, so that a formatter can name them and JSON can hold them."""
    with caplog.at_level(logging.DEBUG, LOGGER):
        decision = make_guard().check_response("hi", f"some {SECRET} ☠ and more", conversation_id="c1", tenant="t1")
    found = fields(caplog.records[0])
    expected = flat_fields(Record.of(decision))
    assert found == {f"guardrail_{name.replace('.', '_')}": value for name, value in expected.items()}
    assert {name.partition(".")[0] for name in expected} <= set(FIELDS)
    assert (found["guardrail_id"], found["guardrail_conversation_id"]) == (decision.id, "c1")
    assert (found["guardrail_tenant"], found["guardrail_action"]) == ("t1", "stop")
    assert 0.5 < found["guardrail_risk_probabilities_unsafe"] <= 1
    json.dumps(found)
    line = logging.Formatter("%(levelname)s %(guardrail_category)s").format(caplog.records[0])
    assert line == "WARNING Violent"


def test_no_word_of_the_text_is_logged(make_guard: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Not in the line, not in a field, not from the exception that a text set off."""
    with caplog.at_level(logging.DEBUG):
        make_guard().check_response(f"{SECRET}?", f"some {SECRET} ☠ and {SECRET}")
        make_guard(fails=True).check_prompt(f"hello {SECRET}")
    assert len(caplog.records) >= 2
    assert SECRET not in "".join(str(vars(record)) for record in caplog.records)


def test_a_message_cannot_be_forged(make_guard: Any, caplog: pytest.LogCaptureFixture) -> None:
    """An id from outside with a line end in it stands in its field only."""
    with caplog.at_level(logging.DEBUG, LOGGER):
        make_guard().check_prompt("hello", conversation_id="c1\nprompt stop: forged %s")
    assert "forged" not in caplog.records[0].getMessage()
    assert "forged" in caplog.records[0].guardrail_conversation_id  # type: ignore[attr-defined]  # set by `extra`


def test_nothing_is_built_that_nobody_hears(
    make_guard: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the logger's level no record is made."""

    def built(*args: object) -> None:
        raise AssertionError("built")

    monkeypatch.setattr(Record, "of", built)
    guard = make_guard()
    with caplog.at_level(logging.WARNING, LOGGER):
        guard.check_prompt("hello")
        assert guard.n_record_failures == 0
        guard.check_prompt("☠")
    assert guard.n_record_failures == 1


def test_a_logger_of_ones_own(make_guard: Any, caplog: pytest.LogCaptureFixture) -> None:
    """By name or itself."""
    with caplog.at_level(logging.INFO):
        for logger in ("audit.a", logging.getLogger("audit.b")):
            make_guard().with_policy("balanced", sinks=[LogSink(logger)]).check_prompt("hello")
    assert [one.name for one in caplog.records] == ["audit.a", "audit.b"]
