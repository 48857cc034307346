"""Readers of benchmarks of answers."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from guardrail.evaluation.datasets import categories
from guardrail.evaluation.datasets.dataset import Reader
from guardrail.evaluation.datasets.entries import Entry
from guardrail.evaluation.datasets.fields import Fields
from guardrail.evaluation.datasets.making import HARM_WORDS, REFUSAL_WORDS, response_row, turn
from guardrail.evaluation.rows import Row

_HUMANS = ("human_0", "human_1", "human_2")
_AGREEING = 2


def harmbench_response(entry: Fields) -> list[Row | None]:
    """Return the answers of the file's one object, which has a list of them for each behaviour; or one such answer.

    Harmful is what two of three people found harmful.
    """
    if "test_case" in entry:
        return [_harmbench(entry, "")]
    return [_harmbench(answer, f"-{name}-{n}") for name, n, answer in _answers(entry)]


def _answers(entry: Fields) -> Iterator[tuple[str, int, Fields]]:
    for name in entry.names():
        for n, answer in enumerate(entry.items(name)):
            if not isinstance(answer, Mapping):
                raise ValueError(f"{name}: expected a list of objects")
            yield name, n, Fields(answer)


def _harmbench(answer: Fields, part: str) -> Row | None:
    votes = [answer.flag(key) for key in _HUMANS]
    is_harmful = None if None in votes else votes.count(True) >= _AGREEING
    experiment = answer.text("experiment") if "experiment" in answer else ""
    meta = {"is_adversarial": experiment != "default", "votes": votes} if experiment else {"votes": votes}
    return response_row(turn(answer.text("test_case"), answer.text("generation")), is_harmful, meta=meta, part=part)


def beavertails(entry: Fields) -> list[Row | None]:
    """Return the answer; harmful when it is not safe."""
    is_safe = entry.flag("is_safe")
    kinds = _named(entry.inner("category")) if "category" in entry else []
    is_harmful = None if is_safe is None else not is_safe
    talk = turn(entry.text("prompt"), entry.text("response"))
    return [response_row(talk, is_harmful, categories=categories.beavertails(kinds), meta={"category": kinds})]


def safe_rlhf(entry: Fields) -> list[Row | None]:
    """Return both answers of an entry when one is safe and the other is not; other entries are not measured."""
    is_safe = [entry.flag(f"is_response_{n}_safe") for n in range(2)]
    if None in is_safe or is_safe[0] == is_safe[1]:
        return []
    return [_safe_rlhf(entry, n, not is_safe[n]) for n in range(2)]


def _safe_rlhf(entry: Fields, n: int, is_harmful: bool) -> Row | None:
    column = f"response_{n}_harm_category"  # later releases have it
    kinds = _named(entry.inner(column)) if column in entry else []
    talk = turn(entry.text("prompt"), entry.text(f"response_{n}"))
    return response_row(talk, is_harmful, categories=categories.safe_rlhf(kinds), part=f"-{n}")


def _named(flags: Fields) -> list[str]:
    return [key for key in flags.names() if flags.flag(key)]


def xstest_response(entry: Fields, refusals: Mapping[tuple[str, str], bool] | None = None) -> list[Row | None]:
    """Return the answer; whether it refuses stands in the other file, by the same prompt and answer."""
    prompt, answer = entry.text("prompt"), entry.text("response")
    refusal = (refusals or {}).get((prompt, answer))
    is_harmful = entry.label("label", HARM_WORDS)
    meta = entry.kept("prompt_type", "prompt_harm_category")
    return [response_row(turn(prompt, answer), is_harmful, refusal=refusal, meta=meta)]


def xstest_with_refusals(entries: Iterable[Entry]) -> Reader:
    """Return the reader that knows the refusal labels; an entry that cannot be read gives none."""
    refusals: dict[tuple[str, str], bool] = {}
    for found in entries:
        with suppress(ValueError):
            entry = Fields(found.values())
            label = entry.label("label", REFUSAL_WORDS)
            if label is not None:
                refusals[entry.text("prompt"), entry.text("response")] = label
    return lambda entry: xstest_response(entry, refusals)
