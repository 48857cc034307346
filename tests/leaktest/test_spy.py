import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from guardrail.errors import ConfigurationError
from guardrail.leaktest import CANARIES, Canary, Run, Spy, texts
from guardrail.leaktest.search import MIN_RUN, leaked

CANARY = CANARIES["word"]
WITHHELD = len(CANARY.withheld)


def pieces(text: str, sizes: list[int]) -> list[str]:
    """Cut a text into pieces of these sizes, over and over."""
    found, start, i = [], 0, 0
    while start < len(text):
        found.append(text[start : start + sizes[i % len(sizes)]])
        start, i = start + sizes[i % len(sizes)], i + 1
    return found


@given(st.integers(0, WITHHELD), st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_every_character_behind_the_clean_text_is_counted_however_it_was_cut(n_leaked: int, sizes: list[int]) -> None:
    """A spy that hears the clean text and n characters more reports n, even for one."""
    spy = Spy()
    for piece in pieces(CANARY.clean + CANARY.withheld[:n_leaked], sizes):
        spy.heard("stream", piece)
    (outlet,) = spy.leaks(CANARY)
    assert (outlet.leaked_chars, outlet.clean_chars) == (n_leaked, CANARY.offset)
    assert outlet.leaks == (n_leaked > 0)


@given(st.integers(0, WITHHELD - 12), st.integers(12, 60))
def test_a_scrap_of_the_withheld_text_is_found_anywhere(start: int, length: int) -> None:
    """A dozen characters out of the middle are enough, whatever stands around them."""
    scrap = CANARY.withheld[start : start + length]
    assert {*range(start, start + len(scrap))} <= leaked(f"[blocked] {scrap} (see log)", CANARY)


@pytest.mark.parametrize("name", CANARIES)
def test_clean_text_and_prompt_are_no_leak(name: str) -> None:
    """What may come out is never reported, in whatever order it comes."""
    canary = CANARIES[name]
    assert leaked(f"{canary.prompt} {canary.clean} {canary.clean[::-1]} stopped: Violent", canary) == set()


@pytest.mark.parametrize("ascii_only", [True, False])
def test_escaped_text_is_read_through_its_escapes(ascii_only: bool) -> None:
    """JSON inside a log line hides nothing: neither escaped characters nor quotes."""
    canary = Canary("quoted", 'Clean text comes first. "☠ 🦜"\nand more', '"☠ 🦜"')
    heard = repr(json.dumps({"text": canary.text}, ensure_ascii=ascii_only))
    assert len(leaked(heard, canary)) == len(canary.withheld)


def test_texts_of_different_parts_are_not_mixed() -> None:
    """Two conversations on one outlet, token by token in turns, are each put together; a leak in one is found."""
    spy = Spy()
    for number, character in enumerate(CANARY.text):
        spy.heard("stream", character, "first")
        if number < CANARY.offset:
            spy.heard("stream", character, "second")
    assert spy.leaks(CANARY)[0].leaked_chars == WITHHELD
    assert CANARY.clean in spy.texts("stream")


def test_pieces_at_growing_positions_of_a_list_are_joined() -> None:
    """A trace keeps each token as another element of a list; together they are found all the same."""
    spy = Spy()
    for number, character in enumerate(CANARY.text):
        spy.heard("tracer", character, f".events.{number}.token")
    assert spy.leaks(CANARY)[0].leaked_chars == WITHHELD


def test_a_watched_outlet_that_stays_silent_is_reported_clean() -> None:
    """Nothing heard is a finding too."""
    spy = Spy()
    spy.listen("log records")
    (outlet,) = spy.leaks(CANARY)
    assert (outlet.name, outlet.n_heard, outlet.leaks) == ("log records", 0, False)


def test_what_follows_a_redacted_marker_may_come_out() -> None:
    """For the pii canary only the address counts, and a part of it is enough."""
    canary = CANARIES["pii"]
    redacted = canary.text.replace(canary.marker, "[EMAIL]")
    assert leaked(redacted, canary) == set()
    assert len(leaked(redacted.replace("[EMAIL]", "jane.roe@"), canary)) == len("jane.roe@")


@pytest.mark.parametrize("size", [None, 1, 7])
def test_tokens_make_the_text_and_are_counted_from_the_marker(size: int | None) -> None:
    """However the scripted LLM cuts its answer, nothing is lost, and the marker's first token is known."""
    canary = Canary("cut", CANARY.text, CANARY.marker, token_chars=size)
    before = "".join(canary.tokens[: canary.n_tokens_to_marker])
    assert "".join(canary.tokens) == canary.text
    assert len(before) > canary.offset
    assert len("".join(canary.tokens[: canary.n_tokens_to_marker - 1])) <= canary.offset
    assert canary.n_tokens_of(range(len(canary.withheld))) == len(canary.tokens) - canary.n_tokens_to_marker + 1


@pytest.mark.parametrize("name", CANARIES)
def test_every_scrap_of_a_ready_canary_stands_in_it_once(name: str) -> None:
    """So a count of leaked characters is exact."""
    text = CANARIES[name].text
    scraps = [text[i : i + MIN_RUN] for i in range(CANARIES[name].offset, len(text) - MIN_RUN + 1)]
    assert len(set(scraps)) == len(scraps)


@pytest.mark.parametrize(("text", "marker"), [("one", ""), ("one", "two"), ("one one", "one")])
def test_a_marker_stands_in_its_text_once(text: str, marker: str) -> None:
    """Else a leak could not be told from clean text."""
    with pytest.raises(ConfigurationError):
        Canary("bad", text, marker)


def test_a_run_counts_what_the_llm_wrote_too_much_and_what_it_was_spared() -> None:
    """Two answers: one read to its end, one closed two tokens behind the marker's first."""
    total, first = len(CANARY.tokens), CANARY.n_tokens_to_marker
    run = Run("stream", (total, first + 2))
    assert run.n_after_marker(CANARY) == total - first + 2
    assert run.n_saved(CANARY) == total - first - 2
    assert not Run("stream", (0,)).was_tried


@dataclass
class Event:
    """A value with a secret at some depth."""

    data: object


def raised(secret: str) -> ValueError:
    """An error that was caused by one which tells."""
    error = ValueError("refused")
    error.__cause__ = KeyError(secret)
    return error


class Opaque:
    """Shows its text only in its repr."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"Opaque({self.text})"


@pytest.mark.parametrize(
    "wrap",
    [
        lambda secret: {"a": [1, (None, {secret})]},
        lambda secret: {secret: 1},
        lambda secret: Event([secret]),
        lambda secret: secret.encode(),
        lambda secret: AIMessage("", additional_kwargs={"draft": secret}),
        raised,
        Opaque,
    ],
    ids=["collections", "key", "dataclass", "bytes", "model", "cause", "repr"],
)
def test_text_is_found_at_any_depth(wrap: object) -> None:
    """Whatever a reader of a value could see is heard."""
    assert callable(wrap)
    assert any("hidden" in text for _path, text in texts(wrap("hidden")))


def test_a_value_that_holds_itself_is_walked_once() -> None:
    """Cycles end."""
    loop: list[object] = ["seen"]
    loop.append(loop)
    assert [text for _path, text in texts(loop)] == ["seen"]


def test_types_that_know_the_canary_are_passed_over() -> None:
    """The scripted LLM is no outlet."""
    assert [text for _path, text in texts(["seen", Event("unseen")], unseen=(Event,))] == ["seen"]
