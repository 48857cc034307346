"""Compares an export with the torch network, position by position, and says in a table whether it passes.

The rows are fixed texts, each rendered as a prompt with an answer, and a long one for far positions. Every position
is compared; the share of equal verdicts is also given for the positions that a guard reads: the closing token of the
prompt for the query heads, the answer's tokens for the response heads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from guardrail.checkpoint import CONFIG_FILE, Checkpoint, read_json
from guardrail.checkpoint_config import GuardConfig
from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Engine, Feed, Logits
from guardrail.engines.onnx import OnnxEngine
from guardrail.engines.torch import TorchEngine
from guardrail.errors import CheckpointError, ConfigurationError
from guardrail.exported import read_manifest
from guardrail.onnx_export.export import TOKENIZER_FILE, Progress, export_checkpoint
from guardrail.onnx_export.verify_rows import Row, fixed_rows

OUTPUTS = ("query_risk", "query_category", "response_risk", "response_category")

FP32_TOLERANCE = 1e-4
"""Largest logit difference of an fp32 export, and the margin up to which two labels are tied (`decisions.md` 2)."""

INT8_AGREEMENT = 0.9
"""Least share of equal verdicts in int8, over all positions, for each head. Ours: random weights, whose labels are
nearly tied, reach 0.97 on tiny models and 0.99 in the 0.6B shape (`onnx_perf.md` section 7)."""

CHUNK = 7
"""Tokens of one feed in the comparison of chunks with the whole. Our choice."""

BATCH = 4
"""Rows of the comparisons of batches and of rolling back. Our choice."""


@dataclass(frozen=True, slots=True)
class HeadComparison:
    """One head over all rows.

    Attributes:
        head: output name.
        max_difference: largest absolute logit difference.
        mean_difference: mean absolute logit difference.
        n_positions: positions compared.
        agreement: share of them with the same most probable label; a tie (margin up to 1e-4) counts as the same.
        n_read: positions at which a guard reads this head.
        agreement_read: as `agreement`, over those.
    """

    head: str
    max_difference: float
    mean_difference: float
    n_positions: int
    agreement: float
    n_read: int
    agreement_read: float


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold: a number and its limit.

    Attributes:
        name: what is compared.
        value: measured.
        limit: the most that `value` may be, or the least for a share.
        is_share: whether `value` is a share of equal verdicts, in [0, 1], higher is better.
    """

    name: str
    value: float
    limit: float
    is_share: bool = False

    @property
    def passed(self) -> bool:
        """Whether the number keeps its limit."""
        return self.value >= self.limit if self.is_share else self.value <= self.limit


@dataclass(frozen=True, slots=True)
class Report:
    """The comparison of one export.

    Attributes:
        name: of the model.
        precision: of the export.
        n_rows: rows compared.
        heads: each head against the torch network.
        checks: what must hold.
    """

    name: str
    precision: str
    n_rows: int
    heads: tuple[HeadComparison, ...]
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)


def verify_checkpoint(
    checkpoint: str | Path,
    *,
    precision: str | None = None,
    exported: str | Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Compare an export with the torch network on a fixed set of texts.

    Args:
        checkpoint: checkpoint folder in the published format, with tokenizer.json.
        precision: "int8" or "fp32"; None takes that of `exported`, int8 otherwise.
        exported: an export of that checkpoint to compare; None makes one for the occasion.
        progress: told of each layer of the export.

    Raises:
        CheckpointError: as `export_checkpoint`, the export was made from another checkpoint, or the context is too
            short for any row.
        ConfigurationError: unknown precision, or `exported` has another one.
    """
    with TemporaryDirectory() as scratch:
        if exported is None:
            target = Path(scratch) / "export"
            exported = export_checkpoint(checkpoint, target, precision=precision or "int8", progress=progress)
        folder = Path(exported)
        manifest = read_manifest(folder)
        if manifest.source_sha256 != Checkpoint.open(checkpoint).sha256():
            raise CheckpointError(f"{folder} was exported from another checkpoint")
        if precision not in (None, manifest.precision):
            raise ConfigurationError(f"{folder} is exported as {manifest.precision}, not {precision}")
        config = GuardConfig.from_json(read_json(folder / CONFIG_FILE))
        rows = fixed_rows(GuardTokenizer.from_file(folder / TOKENIZER_FILE), config.max_context)
        if not rows:
            raise CheckpointError(f"a context of {config.max_context} tokens holds none of the fixed texts")
        engine = OnnxEngine(folder, manifest, config)
        return compare(TorchEngine.from_checkpoint(checkpoint), engine, rows)


def compare(reference: Engine, exported: Engine, rows: list[Row]) -> Report:
    """Compare an exported engine with the reference, and with itself under other ways of feeding the same ids."""
    left, right = _read(reference, rows), _read(exported, rows)
    heads = tuple(_compare(head, rows, left, right) for head in OUTPUTS)
    largest = max(head.max_difference for head in heads)
    agreement = min(head.agreement for head in heads)
    is_exact = exported.info.precision == "fp32"
    # int8: another way of feeding may round activations otherwise; it must cost less than the rounding of weights did
    limit = FP32_TOLERANCE if is_exact else largest
    few = rows[:BATCH]
    halves = [_feed(exported, row.ids, [0, len(row.ids) // 2]) for row in few]
    checks = [
        Check("same verdict as torch, least head", agreement, 1.0 if is_exact else INT8_AGREEMENT, is_share=True),
        Check(f"chunks of {CHUNK} against the whole", _difference(right, _read(exported, rows, CHUNK)), limit),
        Check("rolled back against fresh", _difference(halves, _roll_back(exported, few)), limit),
        Check("in a batch against alone", _difference(right[:BATCH], _read_together(exported, few)), limit),
    ]
    if is_exact:
        checks.insert(0, Check("logits against torch", largest, FP32_TOLERANCE))
    return Report(exported.info.name, exported.info.precision, len(rows), heads, tuple(checks))


def format_report(report: Report) -> str:
    """Return the report as a table for people."""
    lines = [f"{report.name}, {report.precision} against torch fp32, {report.n_rows} rows of fixed texts", ""]
    lines.append(f"{'head':18} {'max diff':>9} {'mean diff':>9}   {'same verdict':22} where the head is read")
    for head in report.heads:
        everywhere = f"{head.agreement:.2%} of {head.n_positions}"
        read = f"{head.agreement_read:.2%} of {head.n_read}"
        lines.append(f"{head.head:18} {head.max_difference:9.1e} {head.mean_difference:9.1e}   {everywhere:22} {read}")
    lines.append("")
    for check in report.checks:
        number = f"{check.value:.2%} (least {check.limit:.0%})" if check.is_share else (
            f"{check.value:.1e} (most {check.limit:.1e})"
        )  # fmt: skip
        lines.append(f"{'pass' if check.passed else 'FAIL'}  {check.name:36} {number}")
    return "\n".join([*lines, "", "passed" if report.passed else "FAILED"])


def _compare(head: str, rows: list[Row], left: list[Logits], right: list[Logits]) -> HeadComparison:
    reference = np.concatenate([getattr(logits, head) for logits in left])
    exported = np.concatenate([getattr(logits, head) for logits in right])
    difference = np.abs(reference - exported)
    top_two = np.sort(reference, axis=-1)[:, -2:]
    same = (reference.argmax(-1) == exported.argmax(-1)) | (top_two[:, 1] - top_two[:, 0] <= FP32_TOLERANCE)
    starts = np.cumsum([0, *(len(row.ids) for row in rows)])
    read = [int(start) + i for start, row in zip(starts, rows, strict=False) for i in row.read_positions(head)]
    return HeadComparison(
        head, float(difference.max()), float(difference.mean()), len(same), float(same.mean()),
        len(read), float(same[read].mean()),
    )  # fmt: skip


def _read(engine: Engine, rows: list[Row], chunk: int | None = None) -> list[Logits]:
    """Return the logits of each row, fed whole or in chunks."""
    return [_feed(engine, row.ids, range(0, len(row.ids), chunk or len(row.ids))) for row in rows]


def _feed(engine: Engine, ids: list[int], starts: Sequence[int]) -> Logits:
    """Return the logits of ids that a fresh session takes in pieces."""
    session = engine.open()
    ends = [*starts[1:], len(ids)]
    try:
        parts = [engine.step([Feed(session, ids[i:j])])[0] for i, j in zip(starts, ends, strict=True)]
    finally:
        session.close()
    return Logits(**{head: np.concatenate([getattr(part, head) for part in parts]) for head in OUTPUTS})


def _roll_back(engine: Engine, rows: list[Row]) -> list[Logits]:
    """Return the logits of the second half of each row, behind a tail that was taken back."""
    results = []
    for row in rows:
        half = len(row.ids) // 2
        session = engine.open()
        try:
            engine.step([Feed(session, [*row.ids[:half], *row.ids[:half]])])
            session.rollback(half)
            results += engine.step([Feed(session, row.ids[half:])])
        finally:
            session.close()
    return results


def _read_together(engine: Engine, rows: list[Row]) -> list[Logits]:
    """Return the logits of rows fed in one ragged batch."""
    sessions = [engine.open() for _ in rows]
    try:
        return engine.step([Feed(session, row.ids) for session, row in zip(sessions, rows, strict=True)])
    finally:
        for session in sessions:
            session.close()


def _difference(left: list[Logits], right: list[Logits]) -> float:
    """Return the largest difference over the last positions that both have."""
    largest = 0.0
    for one, other in zip(left, right, strict=True):
        for head in OUTPUTS:
            a, b = getattr(one, head), getattr(other, head)
            n = min(len(a), len(b))
            largest = max(largest, float(np.abs(a[-n:] - b[-n:]).max()))
    return largest
