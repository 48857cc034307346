"""Server-sent events, cut anywhere."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.wire.errors import NotUnderstood
from guardrail.wire.frames import MAX_FRAME_BYTES, Frames, frame
from tests.strategies import texts

ENDS = ("\n", "\r\n")


@given(
    said=st.lists(texts(3), max_size=4), n_bytes=st.integers(1, 50), end=st.sampled_from(ENDS), is_done=st.booleans()
)  # fmt: skip
def test_objects_arrive_whole_however_their_bytes_are_cut(
    said: list[str], n_bytes: int, end: str, is_done: bool
) -> None:
    """In order, with comments and other fields left out; behind [DONE] nothing is read."""
    bare = [json.dumps({"said": text}) for text in said]
    lines = ["event: x", "id: 5", ": hello", ""]
    frames = "".join(f"event: e{end}data: {one}{end}{end}" for one in bare)
    tail = f"data: [DONE]{end}{end}data: nonsense{end}{end}" if is_done else ""
    stream = (end.join(lines) + end + frames + tail).encode()
    reader = Frames()
    pieces = [stream[i : i + n_bytes] for i in range(0, len(stream), n_bytes)]
    found = [held for piece in pieces for held, _ in reader.take(piece)]
    reader.end()
    assert [held["said"] for held in found] == said
    assert reader.is_done is is_done


@given(texts(4))
def test_what_is_packed_is_read_again(text: str) -> None:
    """Halves of characters too, which models send."""
    held = {"type": "response.x", "delta": text}
    ((found, pack),) = Frames().take(frame(held))
    assert found == held
    assert pack(found) == frame(held)


def test_an_object_over_several_lines_is_one() -> None:
    """As the standard has it."""
    ((found, _),) = Frames().take(b'data: {"a":\ndata: 1}\n\n')
    assert found == {"a": 1}


def test_a_number_that_json_cannot_say_is_null() -> None:
    """What is written again would be no JSON else, and clients in most languages would choke on it."""
    ((found, pack),) = Frames().take(b'data: {"a": [NaN, -Infinity, 1e999, 0.5, 1e9]}\n\n')
    assert found == {"a": [None, None, None, 0.5, 1e9]}
    assert pack(found) == b'data: {"a": [null, null, null, 0.5, 1000000000.0]}\n\n'


@pytest.mark.slow
def test_many_empty_frames_stay_linear() -> None:
    """An LLM that sends nothing but line ends does not hold the event loop (bound chosen far above the linear cost)."""
    started = time.perf_counter()
    assert list(Frames().take(b"\n" * 2**21)) == []
    assert time.perf_counter() - started < 60


def test_a_frame_without_an_end_is_not_waited_for() -> None:
    """Memory has an end."""
    with pytest.raises(NotUnderstood, match="no end"):
        list(Frames().take(b"data: " + b"x" * MAX_FRAME_BYTES))


@pytest.mark.parametrize("left", [b"data: {", b'data: {"a": 1}'])
def test_a_stream_that_ends_inside_a_frame_is_not_understood(left: bytes) -> None:
    """What stands there may be half of something."""
    reader = Frames()
    assert list(reader.take(left)) == []
    with pytest.raises(NotUnderstood, match="inside a frame"):
        reader.end()
