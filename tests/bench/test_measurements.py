import numpy as np
import onnxruntime
import pytest

from guardrail.bench.decode import _Round, _summed_up
from guardrail.bench.int8_rate import product_model
from guardrail.bench.report import Report
from guardrail.bench.reread import N_TOKENS, Fit
from guardrail.bench.timing import Spread


def test_the_int8_product_is_one() -> None:
    """The model that is written by hand multiplies unsigned by signed bytes."""
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 256, (3, 8), np.uint8), rng.integers(-127, 128, (8, 8), np.int8)
    session = onnxruntime.InferenceSession(product_model(8, right.tobytes()), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"a": left})
    assert (found == left.astype(int) @ right.astype(int)).all()


def test_a_fit_finds_the_costs_it_was_made_of() -> None:
    """Summed over the whole answer, beyond the sampled lengths."""
    lengths = (1, 16, 64, 256, 512)
    fit = Fit.of(lengths, [0.1 + 0.004 * n + 1e-6 * n * n for n in lengths], 2, 2048)
    assert fit.coefficients == pytest.approx((0.1, 0.004, 1e-6))
    assert fit.total_s == pytest.approx(sum(0.1 + 0.004 * n + 1e-6 * n * n for n in range(1, 2049)))


@pytest.mark.parametrize("seconds", [(0.4, 0.2, 0.1), (0.1, 0.3, 0.2), (0.1, 0.1, 0.1), (1.0, 5.0, 5.0)])
def test_a_fit_of_noise_never_gains_time(seconds: tuple[float, ...]) -> None:
    """No coefficient is negative, so longer answers never seem to cost less than nothing."""
    fit = Fit.of((10, 20, 30), seconds, 2, 2048)
    assert min(fit.coefficients) >= 0
    assert fit.total_s > 0


def test_a_spread_orders_its_quantiles() -> None:
    """Of any numbers."""
    spread = Spread.of([5.0, 1.0, 3.0])
    assert spread.p10 <= spread.median == 3.0 <= spread.p90 <= spread.p95 <= spread.p99
    assert spread.n == 3


def test_shares_and_ratios_belong_to_their_times(report: Report) -> None:
    """The limit is the bytes by the bandwidth, and the headline is the first context."""
    assert report.decode
    first, last = report.decode.at
    assert report.decode.share_of_limit == first.share_of_limit.median
    assert (first.context, last.context) == (32, 64)
    assert last.bytes_per_token > first.bytes_per_token
    at_median_ms = first.bytes_per_token / first.gb_per_s.median / 1e6  # equal but for the mean of the middle rounds
    assert first.limit_ms >= at_median_ms * (1 - 1e-9)


def test_a_limit_is_that_of_its_rounds() -> None:
    """The median of the rounds' own limits, and each round's share of its own."""
    rounds = [_Round(gb_per_s, ours_ms, []) for gb_per_s, ours_ms in ((10.0, [4.0, 5.0, 6.0]), (20.0, [2.0]))]
    at = _summed_up(32, 30_000_000, rounds)
    assert at.limit_ms == pytest.approx((3.0 + 1.5) / 2)
    assert at.share_of_limit.median == pytest.approx((3.0 / 5.0 + 1.5 / 2.0) / 2)
    assert (at.ms.n, at.torch_ms, at.ratio_to_torch) == (4, None, None)


def test_the_fastest_llm_is_that_of_the_best_chunk(report: Report) -> None:
    """And a stream near that speed is followed to its end."""
    assert report.chunks
    catch_up = report.chunks.catch_up
    best = max(report.chunks.at, key=lambda chunk: chunk.max_tokens_per_s)
    assert (catch_up.max_tokens_per_s, catch_up.k) == (best.max_tokens_per_s, best.k)
    assert catch_up.near_max.tokens_per_s == pytest.approx(0.9 * best.max_tokens_per_s)
    assert catch_up.usual.n_tokens == catch_up.usual.delay_ms.n == 10
    assert report.chunks.at[0].cost == 1.0


def test_lengths_that_the_context_cannot_hold_are_shortened(report: Report) -> None:
    """4,096 tokens were asked for, 512 fit."""
    assert report.reread
    assert report.reread.lengths == (1, 8, 16, 32, 384)
    assert report.reread.reread_by == "torch fp32"
    total_s = report.reread.reread.total_s / report.reread.ours.total_s
    assert report.reread.ratio_at_2048 == pytest.approx(total_s)
    assert N_TOKENS == 2048


def test_every_number_of_streams_is_measured(report: Report) -> None:
    """Each with all its tokens, and a long prompt beside all but one of the most."""
    assert report.streams
    assert [(one.n_streams, one.delay_ms.n) for one in report.streams.at] == [(1, 2), (2, 4), (4, 8)]
    assert (report.streams.stall.n_streams, report.streams.stall.prompt_tokens) == (3, 32)
    assert report.streams.stall.stall_ms >= report.streams.stall.delay_ms.median


def test_memory_is_that_of_a_process_of_its_own(report: Report) -> None:
    """It grows with the model; keys and values in int8 take a quarter."""
    assert report.memory
    process, kv = report.memory.process, report.memory.kv_bytes_per_1000_tokens
    assert process.before_bytes
    assert process.loaded_bytes
    assert process.peak_bytes
    assert process.before_bytes < process.loaded_bytes <= process.peak_bytes
    assert kv["fp32"] == 4 * kv["int8"] == 1000 * 2 * 2 * 2 * 16 * 4  # two layers, keys and values, two heads of 16
    assert report.prefill
    assert report.prefill.long
    assert report.prefill.long.n_tokens == 64
