"""A tiny model, and measurements so small that all of them take seconds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from guardrail.bench.report import Report
from guardrail.bench.run import run_bench
from guardrail.bench.sizes import Sizes
from guardrail.bench.subject import Source, Subject, opened
from guardrail.bench.timing import unwatched
from guardrail.engines.runtime import Runtime
from guardrail.onnx_export import export_checkpoint

SMALL = Sizes(
    bandwidth_bytes=2**22, gemm_size=64, contexts=(32, 64), decode_rounds=2, decode_tokens=2, torch_tokens=1,
    chunks=(1, 2, 4), chunk_rounds=2, stream_rate=200.0, stream_s=0.05, prompts=(16, 32), prompt_rounds=1,
    prompt_chunks=(8, 16), chunked_prompt=16, threads_prompt=16, long_prompt=64, reread=(1, 8, 16, 32, 4096),
    reread_tokens=1, streams=(1, 2, 4), streams_context=(8, 16), streams_rounds=1, streams_tokens=2,
    stalling_prompt=32, memory_tokens=16, prefix_steps=3, deltas=40,
)  # fmt: skip


@pytest.fixture(scope="session")
def source(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The tiny checkpoint, exported."""
    return Source(
        "tiny", export_checkpoint(tiny_checkpoint, tmp_path_factory.mktemp("bench") / "export"), tiny_checkpoint
    )


@pytest.fixture
def subject(source: Source) -> Iterator[Subject]:
    """The tiny model, loaded with few slots."""
    with opened(source, Runtime(threads=1, max_sessions=8)) as subject:
        yield subject


@pytest.fixture(scope="session")
def report(source: Source) -> Report:
    """Everything, measured once."""
    return run_bench(source, Runtime(threads=1), SMALL, unwatched)
