"""The loaded model at work: two prompts whose risk is known, and how fast this machine judges."""

import json
import statistics
import time
from dataclasses import dataclass
from importlib.resources import files

from guardrail.doctor.checks import Check, failed, ok, one_line, warning
from guardrail.errors import EngineError
from guardrail.guard import Guard
from guardrail.loader import LoadedModel
from guardrail.policy import Policy

_HARMLESS, _RISKY = "code", "jailbreak"
"""Rows of demo.jsonl whose prompts are tried."""

_ANSWERS = ("bread", "code", "travel")
"""Rows of demo.jsonl whose answers are read for the measurement."""

_RATE_S, _STREAM_S = 1.5, 2.0
"""Shortest time of each measurement, in seconds; one pass or ten tokens are always taken. Our own choice."""

_FEWEST_TOKENS = 10


@dataclass(frozen=True, slots=True)
class Trial:
    """What the model said of one prompt whose risk is known.

    Attributes:
        name: of the prompt, in the demo's texts.
        expected: whether harm should be seen.
        risk: level that the model named.
        category: of harm; None where the prompt is safe.
        action: of the policy.
    """

    name: str
    expected: str
    risk: str
    category: str | None
    action: str

    @property
    def is_expected(self) -> bool:
        """Whether the model saw harm where there is some, and none where there is none."""
        return (self.risk == "Safe") == (self.expected == "Safe")


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast this machine judges, one text at a time.

    Attributes:
        tokens_per_s: tokens of whole answers judged in a second.
        token_ms: that feeding one token to a stream takes, its verdict included: the median, in milliseconds.
        token_p90_ms: as `token_ms`, what nine in ten stay under.
        n_tokens: tokens that were read, in both measurements.
        seconds: that both took.
    """

    tokens_per_s: float
    token_ms: float
    token_p90_ms: float
    n_tokens: int
    seconds: float


def try_model(model: LoadedModel, policy: Policy, *, is_embedded: bool) -> tuple[tuple[Trial, ...], Check]:
    """Judge a harmless prompt and a risky one.

    Another model than the embedded one may follow another taxonomy, so that what it says differently is a warning.
    """
    rows = _rows()
    try:
        guard = Guard(model.engine, model.reader, policy=policy, kept_bytes=0)
        trials = tuple(_try(guard, rows, name, risk) for name, risk in ((_HARMLESS, "Safe"), (_RISKY, "Unsafe")))
    except EngineError as error:
        return (), failed("smoke check", one_line(error), "guardrail verify compares the model with torch")
    told = "; ".join(f"{one.name}: {one.risk}{f' ({one.category})' * bool(one.category)}" for one in trials)
    actions = ", ".join(one.action for one in trials)
    told = f"{told}; {policy.name} would {actions}"
    if all(one.is_expected for one in trials):
        return trials, ok("smoke check", told)
    if is_embedded:
        return trials, failed("smoke check", told, "this machine gives other verdicts than expected: please report it")
    return trials, warning("smoke check", told, "expected Safe and Unsafe; a model of your own may judge otherwise")


def measure_speed(model: LoadedModel) -> Speed:
    """Measure, after a pass that warms the runtime up; other programs that run make it slower.

    Raises:
        EngineError: the model failed.
    """
    rows = _rows()
    prompt, text = rows[_ANSWERS[0]]["prompt"], "\n".join(rows[name]["answer"] for name in _ANSWERS)
    guard = Guard(model.engine, model.reader, policy="shadow", kept_bytes=0)  # which stops nothing
    spans = [(one.start, one.end) for one in guard.judge_response(prompt, text)]
    begun = time.perf_counter()
    n_passes = 0
    while (taken := time.perf_counter() - begun) < _RATE_S or not n_passes:
        guard.judge_response(prompt, text)
        n_passes += 1
    waits = _stream(guard, prompt, [text[start:end] for start, end in spans])
    return Speed(
        tokens_per_s=round(n_passes * len(spans) / taken, 1),
        token_ms=round(statistics.median(waits), 2),
        token_p90_ms=round(sorted(waits)[int(0.9 * (len(waits) - 1))], 2),
        n_tokens=n_passes * len(spans) + len(waits),
        seconds=round(time.perf_counter() - begun, 1),
    )


def _stream(guard: Guard, prompt: str, pieces: list[str]) -> list[float]:
    """Return the milliseconds that each piece took, a token each; the first are left out, they read the prompt too."""
    waits: list[float] = []
    deadline = time.perf_counter() + _STREAM_S
    with guard.open_stream(prompt) as stream:
        for piece in pieces:
            begun = time.perf_counter()
            stream.feed(piece)
            waits.append((time.perf_counter() - begun) * 1000)
            if time.perf_counter() > deadline and len(waits) > _FEWEST_TOKENS:
                break
        stream.finish()
    return waits[1:]


def _try(guard: Guard, rows: dict[str, dict[str, str]], name: str, expected: str) -> Trial:
    prompt = rows[name]["prompt"]
    verdict = guard.judge_prompt(prompt)
    action = guard.check_prompt(prompt).action
    return Trial(name, expected, str(verdict.risk), verdict.category and str(verdict.category), str(action))


def _rows() -> dict[str, dict[str, str]]:
    lines = files("guardrail.assets").joinpath("demo.jsonl").read_text("utf-8").splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}
