"""What records, logs and messages hold of the judged text: nothing, unless asked for, and then no more than that."""

import base64
import json
import logging
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.actions import Action
from guardrail.conversation import ToolCall
from guardrail.decision import Decision
from guardrail.errors import GuardError, RecordError
from guardrail.guard import Guard
from guardrail.policy import Policy, Rules
from guardrail.records import JsonlSink, MemorySink, Privacy, Queueing, Record, StoredSink, TextForm, read_record
from guardrail.records.positions import _COMMON
from guardrail.records.privacy import HIDDEN, redacted
from guardrail.taxonomy import RESPONSE_LABELS, RiskLevel
from guardrail.testing import FailingEngine, MarkerEngine, default_tokenizer, raising
from guardrail.verdict import TokenVerdict, Verdict
from tests.records.made import SAFE, UNSAFE, answer, decision

TOKENIZER = default_tokenizer()
ENGINE = MarkerEngine(TOKENIZER, {"☠": ("Unsafe", "Violent")})
KEY = bytes(range(32))
REDACTED = Privacy(text=TextForm.REDACTED)

unusual = st.text(st.characters(min_codepoint=0x2C00, max_codepoint=0x2DFF, categories=["Lu", "Ll", "Lo"]), min_size=8)
"""Text whose words are found nowhere else: Glagolitic, Coptic, Georgian supplement, Tifinagh, Ethiopic extended."""


def pieces(text: str) -> set[str]:
    """Return every four characters that stand in a row, plain and as JSON escapes them."""
    found = {text[i : i + 4] for i in range(len(text) - 3)}
    return found | {json.dumps(piece)[1:-1] for piece in found}


def everything_in(file: bytes) -> str:
    """Return all text of record lines, with that of their packed positions."""
    texts = [file.decode()]
    for line in file.splitlines():
        if packed := json.loads(line)["positions"]:
            data = base64.b64decode(packed)
            texts += [packed, zlib.decompressobj(zdict=_COMMON).decompress(data[1:]).decode("latin-1")]
    return "\n".join(texts)


def assert_without(text: str, found: str) -> None:
    assert not [piece for piece in pieces(text) if piece in found]


@given(unusual, st.sampled_from([None, KEY]))
def test_records_hold_no_piece_of_the_text(
    tmp_path_factory: pytest.TempPathFactory, text: str, key: bytes | None
) -> None:
    """Of prompts, answers, tool calls, results and documents; a keyed hash is no piece of it."""
    path = tmp_path_factory.mktemp("private") / "r.jsonl"
    with JsonlSink(path, privacy=Privacy(hash_key=key, tokens=True)) as sink:
        guard = Guard(ENGINE, TOKENIZER, sinks=[sink])
        made = [
            guard.check_prompt(text),
            guard.check_prompt(text + "☠"),
            guard.check_response(text, f"{text} ☠ {text}"),
        ]
        made.append(guard.check_tool_call("hi", ToolCall("search", json.dumps({"query": text}))))
        made.append(guard.check_tool_result("hi", text, tool="search"))
    assert len(path.read_bytes().splitlines()) == len(made)
    assert_without(text, everything_in(path.read_bytes()))
    (whole,) = (r for r in [Record.of(made[0], text, Privacy(text=TextForm.FULL))])
    assert pieces(whole.to_json()) & pieces(text)


class TellTale:
    """A sink, and a store, that raises with the text in its message."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, decision: Decision, text: str) -> None:  # noqa: ARG002  # the protocol's
        self.text = text
        raise OSError(f"no room for {text}")

    def append(self, records: Sequence[Record], *, sync: bool) -> None:  # noqa: ARG002  # the protocol's
        raise OSError(f"no room for {self.text}")

    def close(self) -> None:
        raise OSError(f"cannot close with {self.text}")


# long: every call that may tell the text, in one list
@given(unusual)
def test_no_message_and_no_log_line_holds_a_piece_of_the_text(text: str) -> None:
    """Though the engine, the sinks and the store all raise with it: it is not theirs alone."""
    told: list[logging.LogRecord] = []
    handler = logging.Handler(logging.DEBUG)
    handler.emit = told.append  # type: ignore[method-assign, assignment]  # a list of lines is all that is needed
    logging.getLogger().addHandler(handler)
    failing = FailingEngine(ENGINE, at_step=0, breakage=raising(RuntimeError(text)))
    telltale, memory = TellTale(), MemorySink()
    telltale.text = text
    stored = StoredSink(telltale, queueing=Queueing(timeout_s=0.01, close_s=0.05))
    messages: list[str] = []
    try:
        guard = Guard(failing, TOKENIZER, sinks=[telltale, stored, memory])
        guard.check_prompt(text)
        guard.check_response(text, text)
        for call in (
            lambda: guard.judge_prompt(text),
            lambda: guard.check_prompt([{"role": text, "content": text}]),
            lambda: guard.check_prompt([{"role": "user", "content": {text: text}}]),
            lambda: guard.check_prompt([text]),  # type: ignore[list-item]  # what is tested
            lambda: guard.check_prompt([{"role": "assistant", "content": text}]),
            lambda: guard.check_prompt([{"role": "assistant", "tool_calls": [{text: text}]}, {"role": "user"}]),
            lambda: Privacy(text=text),  # type: ignore[arg-type]  # what is tested
            lambda: Record.model_validate({"text": [text]}),
            lambda: read_record({"schema_version": 2, "text": [text], text: text}),
        ):
            messages += _message_of(call)
        stored.close()
    finally:
        logging.getLogger().removeHandler(handler)
    lines = [f"{line.getMessage()} {line.__dict__}" for line in told]
    assert len(lines) >= 4
    for found in (*lines, *messages, *(str(d.failure) for d in memory.decisions), *map(repr, (stored, guard))):
        assert_without(text, found)


def _message_of(call: Callable[[], object]) -> list[str]:
    try:
        call()
    except (GuardError, ValueError) as error:
        return [str(error)]
    raise AssertionError("nothing was raised")


def test_equal_texts_have_equal_hashes_under_one_key_only() -> None:
    """HMAC-SHA256, checked by the first vector of RFC 4231; lone surrogates are text too."""
    known = Privacy(hash_key=b"\x0b" * 20).hashed("Hi There")
    assert known == "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    one, other = Privacy(hash_key=KEY), Privacy(hash_key=KEY[::-1])
    made = [Record.of(decision(), text, one).text_hmac for text in ("a text", "a text", "a text ", "\ud800")]
    assert made[0] == made[1]
    assert len(set(made)) == 3
    assert Record.of(decision(), "a text", other).text_hmac not in made
    assert Record.of(decision(), "a text", Privacy()).text_hmac is None


def test_a_key_is_shown_nowhere() -> None:
    """Nor is the text that somebody takes `text` to be."""
    assert "hash_key" not in repr(Privacy(hash_key=KEY))
    with pytest.raises(RecordError, match="valid: none, redacted, full") as caught:
        Privacy(text="my secret")  # type: ignore[arg-type]  # what is tested
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("key", "message"), [(b"short", "at least"), (b"", "at least"), ("k" * 32, "bytes, not str")])
def test_keys_that_protect_nothing_are_refused(key: Any, message: str) -> None:
    """Short ones can be tried, one after the other."""
    with pytest.raises(RecordError, match=message):
        Privacy(hash_key=key)


CONTROVERSIAL = Verdict(RESPONSE_LABELS, (0.2, 0.2, 0.6), (1.0, *[0.0] * 7))


@st.composite
def judged(draw: st.DrawFn) -> tuple[str, list[TokenVerdict], int | None]:
    """A text, tokens over some of it that may share characters, and the offset of a stop."""
    text = draw(st.text(st.sampled_from("ab cdefghi\n\r"), min_size=6, max_size=20))
    found, at = [], 0
    for index in range(draw(st.integers(1, 6))):
        start = max(0, at + draw(st.integers(-2, 1)))
        at = start + draw(st.integers(1, 5))
        verdict = draw(st.sampled_from([SAFE, SAFE, SAFE, SAFE, UNSAFE, CONTROVERSIAL]))
        found.append(TokenVerdict(verdict, index, start, at, draw(st.booleans())))
    return text, found, draw(st.sampled_from([None, *range(len(text))]))


@given(judged())
def test_redaction_shows_a_character_only_if_all_that_judged_it_found_it_safe(
    made: tuple[str, list[TokenVerdict], int | None],
) -> None:
    """To its last byte, and before the stop; line ends stay, and so does the length."""
    text, tokens, stop_offset = made
    found = redacted(answer(tokens, stop_offset=stop_offset), text)
    assert len(found) == len(text)
    for i, char in enumerate(text):
        over = [t for t in tokens if t.start <= i < t.end]
        is_safe = all(t.risk is RiskLevel.SAFE for t in over) and any(t.complete or i < t.end - 1 for t in over)
        is_shown = is_safe and (stop_offset is None or i < stop_offset)
        assert found[i] == (char if is_shown or char in "\r\n" else HIDDEN)


@pytest.mark.parametrize(
    ("made", "is_shown"),
    [
        (decision(), True),
        (decision(is_stop=True), False),
        (decision(action=Action.ALLOW, would_action=Action.STOP), False),
        (decision(would_action=Action.FLAG), False),
        (decision(risk=None, verdict=None, readings=()), False),
        (decision(readings=(SAFE, UNSAFE)), False),
        (answer([], risk=None), False),
    ],
    ids=["safe", "stopped", "shadow", "flagged", "not judged", "one reading risky", "no token"],
)
def test_a_prompt_is_hidden_whole_or_not_at_all(made: Decision, is_shown: bool) -> None:
    """It is shown if it is Safe by every reading, and nothing was asked for."""
    record = Record.of(made, "a\nprompt", REDACTED)
    assert record.text == ("a\nprompt" if is_shown else f"{HIDDEN}\n{HIDDEN * 6}")
    assert record.text_form is TextForm.REDACTED


def test_an_answer_in_which_only_thresholds_found_something_is_hidden_whole() -> None:
    """The record does not know them, and so not what else they would have found."""
    low = Verdict(RESPONSE_LABELS, (0.6, 0.2, 0.2), (1.0, *[0.0] * 7))
    rules = Rules(controversial=Action.FLAG, unsafe=Action.FLAG, non_safe_threshold=0.3)
    assert rules.level(low) is RiskLevel.CONTROVERSIAL
    made = answer([TokenVerdict(SAFE, 0, 0, 2), TokenVerdict(low, 1, 2, 4)], verdict=low, risk=RiskLevel.CONTROVERSIAL)
    assert redacted(made, "abcd") == HIDDEN * 4


def test_a_guard_redacts_what_it_stopped_and_what_it_flagged() -> None:
    """End to end: what the reader never saw is hidden, and so are risky words that were let go."""
    engine = MarkerEngine(TOKENIZER, {"☠": ("Unsafe", "Violent"), "♠": ("Controversial", "PII")})
    sink = StoredSink(store := Kept(), privacy=REDACTED)
    flagging = Policy(response=Rules(controversial=Action.FLAG, unsafe=Action.STOP, debounce=1))
    guard = Guard(engine, TOKENIZER, policy=flagging, sinks=[sink])
    guard.check_response("hi", "fine words ☠ and what follows")
    guard.check_response("hi", "his number ♠ and more")
    sink.close()
    assert store.texts[0] is not None
    assert store.texts[1] is not None
    assert set(store.texts[0][11:]) == {HIDDEN}
    assert store.texts[0].startswith("fine words")
    assert HIDDEN in store.texts[1]
    assert "♠" not in store.texts[1]
    assert store.texts[1].startswith("his number")


class Kept:
    """A store that keeps the texts."""

    def __init__(self) -> None:
        self.texts: list[str | None] = []

    def append(self, records: Sequence[Record], *, sync: bool) -> None:  # noqa: ARG002  # the protocol's
        self.texts += [record.text for record in records]

    def close(self) -> None:
        """Nothing to free."""
