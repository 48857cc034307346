"""All measurements of one model, in turn."""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from guardrail.bench.chunks import measure_chunks
from guardrail.bench.decode import measure_decode
from guardrail.bench.gate import measure_gate
from guardrail.bench.int8_rate import Int8Product
from guardrail.bench.machine import Bandwidth, cores, measure_machine
from guardrail.bench.memory import measure_memory
from guardrail.bench.prefill import measure_prefill
from guardrail.bench.prefix import PrefixResult, measure_prefix
from guardrail.bench.report import Model, Report
from guardrail.bench.reread import measure_reread
from guardrail.bench.sizes import Sizes
from guardrail.bench.streams import measure_streams
from guardrail.bench.subject import Source, Subject, opened
from guardrail.bench.timing import Watch
from guardrail.engines.runtime import Runtime
from guardrail.errors import ConfigurationError, MissingExtra

if TYPE_CHECKING:
    from guardrail.bench.reference import Reference

SECTIONS = ("memory", "gate", "decode", "chunks", "prefill", "reread", "streams", "prefix")
_COMPARED = {"decode", "reread"}
"""Sections that have torch beside them."""


def check_sections(names: Collection[str]) -> tuple[str, ...]:
    """Return names of sections, in the order in which they are measured.

    Raises:
        ConfigurationError: there is no such section.
    """
    if unknown := sorted(set(names) - set(SECTIONS)):
        raise ConfigurationError(f"nothing here measures {unknown[0]!r}; valid: {', '.join(SECTIONS)}")
    return tuple(name for name in SECTIONS if name in names)


def run_bench(
    source: Source, runtime: Runtime, sizes: Sizes, watch: Watch, *, only: Collection[str] = SECTIONS
) -> Report:
    """Measure a model.

    Args:
        source: of the model.
        runtime: how it runs.
        sizes: how much is measured.
        watch: shows how far it is.
        only: sections to measure.

    Raises:
        CheckpointError: the export is damaged.
        ConfigurationError: a setting cannot be had, or there is no such section.
        EngineError: the model failed.
    """
    sections = check_sections(only)
    threads = runtime.threads or cores()
    with ExitStack() as stack:
        bandwidth = Bandwidth(sizes.bandwidth_bytes, threads=threads)
        product = Int8Product(sizes.gemm_size, threads=threads)
        machine = measure_machine(bandwidth, product, threads, watch)
        subject = stack.enter_context(opened(source, runtime))
        reference, why_not = None, ""
        if _COMPARED & set(sections):
            reference, why_not = stack.enter_context(_reference(source, threads))
        measure: dict[str, Any] = {
            "memory": lambda: measure_memory(subject, sizes, watch),
            "gate": lambda: measure_gate(subject.tokenizer, sizes, watch),
            "decode": lambda: measure_decode(subject, reference, bandwidth, sizes, watch),
            "chunks": lambda: measure_chunks(subject, sizes, watch),
            "prefill": lambda: measure_prefill(subject, product, threads, sizes, watch),
            "reread": lambda: measure_reread(subject, reference, sizes, watch),
            "streams": lambda: measure_streams(subject, sizes, watch),
            "prefix": lambda: _prefix(subject, sizes, watch),
        }
        found = {name: measure[name]() for name in sections}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Report(now, _model(subject, threads), machine, why_not, **found)


def _prefix(subject: Subject, sizes: Sizes, watch: Watch) -> PrefixResult:
    steps = watch((sizes.prefix_steps,), "an agent's loop")
    (found,) = [measure_prefix(subject.engine, subject.tokenizer, n, is_timed=sizes.prefix_is_timed) for n in steps]
    return found


def _model(subject: Subject, threads: int) -> Model:
    info = subject.engine.info
    return Model(
        subject.source.name, info.sha256, info.engine, info.precision, info.kv_precision, info.max_context, threads
    )


@contextmanager
def _reference(source: Source, threads: int) -> Iterator[tuple["Reference | None", str]]:
    """Load the torch side, or tell why there is none."""
    if source.checkpoint is None:
        yield None, "Not compared with torch: the checkpoint of this export is not known."
        return
    try:
        from guardrail.bench.reference import Reference
    except MissingExtra as error:
        yield None, f"Not compared with torch: {error}."
        return
    reference = Reference(source.checkpoint, threads)
    try:
        yield reference, ""
    finally:
        reference.close()
