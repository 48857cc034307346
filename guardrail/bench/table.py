"""A report as a table for people."""

from collections.abc import Iterable, Iterator

from rich.table import Table

from guardrail.bench.chunks import Chunks, Followed
from guardrail.bench.decode import Decode
from guardrail.bench.fresh import Fresh
from guardrail.bench.gate import GateCost
from guardrail.bench.machine import Machine
from guardrail.bench.memory import Memory
from guardrail.bench.prefill import Prefill
from guardrail.bench.prefix import PrefixResult
from guardrail.bench.report import Report
from guardrail.bench.reread import Fit, Reread
from guardrail.bench.streams import ManyStreams
from guardrail.bench.timing import Spread

Row = tuple[str, str, str]
"""What was measured, its value, and its spread or how it was measured."""


def to_table(report: Report) -> Table:
    """Return one table with a part for each measurement, and what it was measured on."""
    model, machine = report.model, report.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    table = Table(
        title=f"{model.name}: {model.precision} weights, {model.kv_precision} KV cache, {model.threads} threads",
        caption=f"{machine.cpu}, {machine.cores} cores, {machine.system}, Python {machine.python}, {versions}. "
        f"{report.date}. Medians; in brackets the range from the 10th to the 90th percentile. {report.why_no_torch}",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("")
    table.add_column("measured")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("more")
    for name, rows in _parts(report):
        table.add_section()
        for i, row in enumerate(rows):
            table.add_row("" if i else name, *row)
    return table


def _parts(report: Report) -> Iterator[tuple[str, Iterable[Row]]]:
    yield "machine", _machine(report.machine)
    if report.memory:
        yield "memory", _memory(report.memory)
    if report.gate:
        yield "gate", _gate(report.gate)
    if report.decode:
        yield "decode", _decode(report.decode)
    if report.chunks:
        yield "chunks", _chunks(report.chunks)
        yield "catch-up", _catch_up(report.chunks)
    if report.prefill:
        yield "prefill", _prefill(report.prefill)
    if report.reread:
        yield "re-reading", _reread(report.reread)
    if report.streams:
        yield "streams", _streams(report.streams)
    if report.prefix:
        yield "prefix", _prefix(report.prefix)


def _machine(machine: Machine) -> Iterator[Row]:
    for one in machine.bandwidth:
        yield f"memory bandwidth, {one.threads} threads", f"{one.gb_per_s:.1f} GB/s", ""
    yield "int8 products", f"{machine.int8_gop_per_s:.0f} GOP/s", ""


def _memory(memory: Memory) -> Iterator[Row]:
    for precision, n_bytes in memory.kv_bytes_per_1000_tokens.items():
        yield f"1,000 tokens held, {precision}", _mb(n_bytes), ""
    yield from _process(memory.process)
    for name, n_bytes in memory.file_bytes.items():
        yield f"file {name}", _mb(n_bytes), ""


def _process(process: Fresh) -> Iterator[Row]:
    held = f"with {process.n_tokens:,} tokens read"
    yield "process before the model", _mb(process.before_bytes), ""
    yield "process with the model", _mb(process.loaded_bytes), f"loaded in {process.load_s:.1f} s"
    yield (
        f"process {held}",
        _mb(process.read_bytes),
        f"at most {_mb(process.peak_bytes)}; read in {process.read_s:.1f} s",
    )


def _gate(gate: GateCost) -> Iterator[Row]:
    more = f"p99 {gate.us_per_delta_p99:.0f} us, {gate.n_deltas:,} deltas"
    yield "encoder and gate, a delta", f"{gate.us_per_delta_p50:.1f} us", more
    more = f"p99 {gate.stream_us_per_delta_p99:.0f} us"
    yield "whole stream but the model, a delta", f"{gate.stream_us_per_delta_p50:.1f} us", more


def _decode(decode: Decode) -> Iterator[Row]:
    for at in decode.at:
        where = f"at {at.context:,} tokens"
        yield f"one token {where}", f"{at.ms.median:.2f} ms", _range(at.ms, "ms")
        more = f"{_mb(at.bytes_per_token)} at {at.gb_per_s.median:.1f} GB/s in the same rounds"
        yield "  limit by bandwidth", f"{at.limit_ms:.2f} ms", more
        share = at.share_of_limit
        yield "  share of the limit", f"{share.median:.0%}", f"[{share.p10:.0%} - {share.p90:.0%}]"
        if at.torch_ms and at.ratio_to_torch:
            yield "  torch fp32", f"{at.torch_ms.median:.1f} ms", _range(at.torch_ms, "ms")
            yield "  times as fast as torch", f"{at.ratio_to_torch.median:.1f}", _range(at.ratio_to_torch)


def _chunks(chunks: Chunks) -> Iterator[Row]:
    for at in chunks.at:
        more = f"{at.cost:.2f} x one token; keeps up with {at.max_tokens_per_s:.0f} tokens/s"
        yield f"{at.k} tokens a call", f"{at.ms.median:.2f} ms", more


def _catch_up(chunks: Chunks) -> Iterator[Row]:
    catch_up = chunks.catch_up
    yield "fastest LLM", f"{catch_up.max_tokens_per_s:.0f} tokens/s", f"{catch_up.k} tokens a call"
    yield from (_followed(one) for one in (catch_up.usual, catch_up.near_max))


def _followed(one: Followed) -> Row:
    more = f"p99 {one.delay_ms.p99:.1f} ms; {one.n_tokens} tokens in {one.n_calls} calls of at most {one.most_pending}"
    return f"delay a token at {one.tokens_per_s:.0f} tokens/s", f"{one.delay_ms.median:.1f} ms", more


def _prefill(prefill: Prefill) -> Iterator[Row]:
    for at in prefill.at:
        share = at.share_of_int8_rate
        more = f"{at.gop_per_s:.0f} GOP/s, {share.median:.0%} of the int8 rate; {at.seconds.median:.2f} s"
        yield f"prompt of {at.n_tokens:,} tokens", f"{at.tokens_per_s:.0f} tokens/s", more
    for chunk in prefill.by_chunk:
        yield f"  {chunk.n} tokens a call", f"{chunk.tokens_per_s:.0f} tokens/s", "without the scheduler"
    for threads in prefill.by_threads:
        yield f"  {threads.n} threads", f"{threads.tokens_per_s:.0f} tokens/s", ""
    if prefill.long:
        long = prefill.long
        yield f"prompt of {long.n_tokens:,} tokens", f"{long.n_tokens / long.read_s:.0f} tokens/s", "a fresh process"
        yield from _process(long)


def _reread(reread: Reread) -> Iterator[Row]:
    yield "answer of 2,048 tokens, each re-reading all", _time(reread.reread.total_s), f"by {reread.reread_by}"
    yield "  a run over n tokens", "fit", _fit(reread.reread)
    yield "the same answer, read once", _time(reread.ours.total_s), ""
    yield "  a token behind n", "fit", _fit(reread.ours)
    yield (
        "times less",
        f"{reread.ratio_at_2048:.0f}",
        f"sampled at {len(reread.lengths)} lengths to {reread.lengths[-1]}",
    )


def _streams(streams: ManyStreams) -> Iterator[Row]:
    for at in streams.at:
        more = f"{at.ratio:.2f} x {at.sequential_tokens_per_s.median:.0f} of sequential calls"
        yield f"{at.n_streams} at once", f"{at.tokens_per_s.median:.0f} tokens/s", more
        more = f"p95 {at.delay_ms.p95:.1f} ms, {at.p95_ratio:.1f} x the median of one stream"
        yield "  delay a token", f"{at.delay_ms.median:.1f} ms", more
    stall = streams.stall
    more = f"median {stall.delay_ms.median:.1f} ms; {stall.n_streams} streams; the prompt took {stall.prompt_s:.1f} s"
    yield f"longest delay beside a prompt of {stall.prompt_tokens:,}", f"{stall.stall_ms:.1f} ms", more


def _prefix(prefix: PrefixResult) -> Iterator[Row]:
    n_steps, tokens = len(prefix.tokens), prefix.tokens[-1]
    yield f"tokens read at step {n_steps} of an agent", f"{tokens:,}", f"{prefix.tokens_without[-1]:,} without reuse"
    yield "  times less", f"{prefix.ratio_at_step_30:.1f}", ""
    if prefix.seconds:
        seconds = f"{prefix.last_seconds_without:.2f} s without reuse, {prefix.time_ratio_at_step_30:.1f} times as long"
        yield "  seconds", f"{prefix.seconds[-1]:.2f} s", seconds


def _range(spread: Spread, unit: str = "") -> str:
    return f"[{spread.p10:.2f} - {spread.p90:.2f}] {unit}".rstrip()


def _fit(fit: Fit) -> str:
    terms = " + ".join(f"{c:.3g}{('', ' n', ' n^2')[i]}" for i, c in enumerate(fit.coefficients))
    return f"{terms} s; off by at most {fit.worst:.0%}"


def _mb(n_bytes: int | None) -> str:
    return "unknown" if n_bytes is None else f"{n_bytes / 1e6:.1f} MB"


def _time(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h" if seconds > 3600 else f"{seconds:.1f} s"
