import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from guardrail.bench.report import Report
from guardrail.bench.run import SECTIONS, run_bench
from guardrail.bench.subject import Source, find_source
from guardrail.bench.table import to_table
from guardrail.bench.timing import unwatched
from guardrail.engines.runtime import Runtime
from guardrail.errors import ConfigurationError
from tests.bench.conftest import SMALL

PROMISED = (
    "decode.share_of_limit", "decode.ratio_to_torch", "reread.ratio_at_2048", "prefix.ratio_at_step_30",
    "gate.us_per_delta_p50", "catch_up.max_tokens_per_s", "streams_1.ratio", "streams_4.ratio", "streams_4.p95_ratio",
    "stall.stall_ms", "prefill.tokens_per_s", "memory.kv_bytes_per_1000_tokens.fp32", "machine.int8_gop_per_s",
)  # fmt: skip
"""Keys of the JSON on which scripts build."""


def numbers(value: Any) -> Iterator[float]:
    """Every number in a JSON value."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers(part)
    elif isinstance(value, int | float):
        yield value


@pytest.mark.parametrize("path", PROMISED)
def test_promised_figures_are_there_and_positive(report: Report, path: str) -> None:
    """Nested by the parts of their names."""
    found: Any = report.to_json()
    for key in path.split("."):
        found = found[key]
    assert isinstance(found, int | float)
    assert found > 0


def test_no_figure_is_negative_or_no_number(report: Report) -> None:
    """A share of nothing or a difference of clocks would show here."""
    found = report.to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == json.loads(json.dumps(found))
    assert [value for value in numbers(found) if not math.isfinite(value) or value < 0] == []


def test_the_table_has_a_part_for_every_measurement(report: Report) -> None:
    """And a title with the model's precisions."""
    table = to_table(report)
    parts = [cell for cell in table.columns[0].cells if cell]
    assert parts == [
        "machine", "memory", "gate", "decode", "chunks", "catch-up", "prefill", "re-reading", "streams", "prefix",
    ]  # fmt: skip
    assert table.title == "tiny: int8 weights, fp32 KV cache, 1 threads"


def test_only_what_is_asked_for_is_measured() -> None:
    """The embedded model needs no checkpoint, and torch is not missed where nothing is compared with it."""
    report = run_bench(find_source("default", unwatched), Runtime(threads=1), SMALL, unwatched, only=("gate",))
    assert set(report.to_json()) == {"date", "model", "machine", "why_no_torch", "gate"}
    assert report.why_no_torch == ""


def test_without_a_checkpoint_torch_is_left_out_and_that_is_said() -> None:
    """An exported model has none; re-reading is then measured by our own engine."""
    source = find_source("default", unwatched)
    report = run_bench(source, Runtime(threads=1), SMALL, unwatched, only=("decode", "reread"))
    assert report.decode
    assert report.decode.ratio_to_torch is None
    assert report.reread
    assert report.reread.reread_by == "onnx int8"
    assert "checkpoint" in report.why_no_torch


def test_an_unknown_measurement_is_refused(source: Source) -> None:
    """With the names of those that there are."""
    with pytest.raises(ConfigurationError, match="'speed'.*" + ", ".join(SECTIONS)):
        run_bench(source, Runtime(), SMALL, unwatched, only=("gate", "speed"))
