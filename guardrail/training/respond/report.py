"""What `respond` reports: answers by model and mode, what was left out, and how long answers are."""

from collections.abc import Mapping

from guardrail.audit.pages.figures import Bars, Summary, Table
from guardrail.training.respond.answering import LENGTHS
from guardrail.training.respond.settings import AnswererSettings, RespondSettings

REASONS = ("call refused", "empty answer", "answer cut off", "repeated answer")
"""Why answers are left out."""

_MUCH = 0.1
"""Share of answers from which on it is worth a warning. Our choice."""


def report(settings: RespondSettings, counts: Mapping[str, int]) -> Summary:
    """Return the summary of a run from what was counted."""
    found = {who.label: _figures(who, counts) for who in settings.answerers}
    names = list(found)
    table = Table(
        "Answers by model",
        ("answerer", "model", "mode", "answers", "look like refusals", "cut off", "mean characters", *REASONS),
        [
            (who.label, who.model, who.mode, *(found[who.label][key] for key in ("answers", "refusals", "cut")),
             found[who.label]["mean_chars"], *(found[who.label][reason] for reason in REASONS))
            for who in settings.answerers
        ],
        "Refusals are told by how English and Chinese answers begin: a rule of ours for this table, which misses many.",
    )  # fmt: skip
    starts = (0, *LENGTHS)
    ends = [f"{low} to {high - 1}" for low, high in zip(starts, LENGTHS, strict=False)]
    lengths = {name: [counts.get(f"length {i}: {name}", 0) for i in range(len(starts))] for name in names}
    bars = Bars("Length of answers in characters", (*ends, f"{LENGTHS[-1]} and more"), lengths, "answers")
    values = {"prompts_asked": counts.get("prompts asked", 0), "answerers": found}
    return Summary(values, (table, bars), tuple(w for who in settings.answerers for w in _warnings(who, counts)))


def _figures(who: AnswererSettings, counts: Mapping[str, int]) -> dict[str, int | float]:
    names = ("answers", "refusals", "cut", "thinking", *REASONS)
    found: dict[str, int | float] = {name: counts.get(f"{name}: {who.label}", 0) for name in names}
    found["mean_chars"] = round(counts.get(f"characters: {who.label}", 0) / max(1, found["answers"]), 1)
    return found


def _warnings(who: AnswererSettings, counts: Mapping[str, int]) -> list[str]:
    n, n_lost = counts.get(f"answers: {who.label}", 0), sum(counts.get(f"{why}: {who.label}", 0) for why in REASONS)
    if not n:
        return [f"{who.label} gave no answer that could be kept ({n_lost} were left out)."] if n_lost else []
    told = []
    if counts.get(f"cut: {who.label}", 0) > _MUCH * n:
        told.append(f"More than {_MUCH:.0%} of the answers of {who.label} were cut off: raise its max_tokens.")
    if n_lost > _MUCH * (n + n_lost):
        told.append(f"More than {_MUCH:.0%} of the answers of {who.label} were left out.")
    if who.mode == "reasoning" and not counts.get(f"thinking: {who.label}", 0):
        told.append(f"{who.label} is asked as a reasoning model, but no thinking came: set up its server to tell it.")
    return told
