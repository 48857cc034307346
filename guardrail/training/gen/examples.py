"""Labelled rows as what a Gen model reads and what it is to write.

The prompt is the one that the engine asks with (`generative/`), in the same token ids. Only what the model writes is
trained, and only as far as the row says it: `Safety:` and the level, `Categories:` and one category, of a response
`Refusal:` and its word, the end of the turn. Where a row does not say the next word, its answer ends before it: the
line's name is still trained, no word is made up.

One category, since the published models were trained on a single primary one (QwenLM/Qwen3Guard issue 7): the first
of the row's that the task has.

Over-long rows (ours): old turns go first, as the engine drops them; then the middle of the turn before a response, then
the middle of the judged text, whose first third and last two thirds stay. Task, policy and answer are never cut.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from guardrail.conversation import Role, Segment, judged_prompts
from guardrail.decision import Direction
from guardrail.encoding import GuardTokenizer
from guardrail.errors import ConfigurationError
from guardrail.evaluation.rows import Row
from guardrail.generative.fitting import without_old_turns
from guardrail.generative.labels import CATEGORIES, REFUSAL, SAFETY
from guardrail.generative.parsing import NO_CATEGORY
from guardrail.generative.spoofing import without_markers
from guardrail.generative.template import Turn, closing, opening
from guardrail.generative.turns import context_turns, prompt_turns, response_turn
from guardrail.taxonomy import PROMPT_LABELS, RESPONSE_LABELS, RiskLevel
from guardrail.training.corpus import family_of, is_held_out
from guardrail.training.examples import IGNORED
from guardrail.training.gen.settings import SftGenSettings
from guardrail.training.recipe_rows import source_rows

Ids = np.ndarray[Any, np.dtype[np.int32]]

END = "<|im_end|>"
"""Closes what the model writes."""


@dataclass(frozen=True, slots=True)
class GenExample:
    """One row ready for the model.

    Attributes:
        prompt: int32 [position], what the model reads.
        written: int32 [position], what it is to write.
        row: what the ids were made of.
    """

    prompt: Ids
    written: Ids
    row: Row

    @property
    def ids(self) -> Ids:
        """Prompt and answer: int32 [position]."""
        return np.concatenate([self.prompt, self.written])

    @property
    def labels(self) -> Ids:
        """IGNORED over the prompt, the ids of the answer: int32 [position]."""
        return np.concatenate([np.full(len(self.prompt), IGNORED, np.int32), self.written])


@dataclass(frozen=True, slots=True)
class GenExamples:
    """All rows of a run.

    Attributes:
        training: those that are trained on, each as often as its source says.
        held_out: those of families that are kept for validation, each once.
        counts: of distinct rows, what they lack or lost: "no_category" and "no_refusal" are trained up to there;
            "old_turns" went, or the "middle" of a text.
    """

    training: list[GenExample]
    held_out: list[GenExample]
    counts: Counter[str]


def read_gen_examples(tokenizer: GuardTokenizer, settings: SftGenSettings) -> GenExamples:
    """Return the examples of all sources.

    Raises:
        ConfigurationError: a file cannot be read, a source has rows without a label, nothing is left to train on, or
            `max_length` has no room for a text.
    """
    encoder = GenEncoder(tokenizer, settings.max_length)
    found = GenExamples([], [], encoder.counts)
    for row, repeat in _rows(settings):
        example = encoder.example(row)
        if is_held_out(family_of(row.messages)):
            found.held_out.append(example)
        else:
            found.training.extend([example] * repeat)
    if not found.training:
        n = len(found.held_out)
        raise ConfigurationError(f"no rows to train on: {n} are held out and there are no others")
    return found


def _rows(settings: SftGenSettings) -> Iterator[tuple[Row, int]]:
    for name, source in settings.sources.items():
        if source.unlabelled:
            raise ConfigurationError(
                f"sources, {name}: unlabelled rows have no answer to learn", hint="label them with train annotate"
            )
        for row in source_rows(settings.data_dir / name, source, settings.seed):
            yield row, source.repeat
            if source.prompt_is_safe and (prompt := _safe_prompt(row)):
                yield prompt, source.repeat


def _safe_prompt(row: Row) -> Row | None:
    """Return the request of a response as a safe prompt; None if the row has none."""
    before = row.messages[:-1]
    if row.target is Direction.PROMPT or not any(m.role in (Role.USER, Role.TOOL) for m in before):
        return None
    return replace(
        row, messages=before, target=Direction.PROMPT, risk=RiskLevel.SAFE, categories=(), refusal=None,
        unsafe_start_char=None,
    )  # fmt: skip


def answer_of(row: Row) -> tuple[str, str]:
    """Return what the model is to write of a row, and "" or what keeps it from being whole: "no_category" or
    "no_refusal".
    """
    opened = f"{SAFETY} {row.risk.value}\n{CATEGORIES}"
    category = NO_CATEGORY if row.risk is RiskLevel.SAFE else primary_category(row)
    if category is None:
        return opened, "no_category"
    named = f"{opened} {category}"
    if row.target is Direction.PROMPT:
        return named, ""
    if row.refusal is None:
        return f"{named}\n{REFUSAL}", "no_refusal"
    return f"{named}\n{REFUSAL} {'Yes' if row.refusal else 'No'}", ""


def primary_category(row: Row) -> str | None:
    """Return the first category of a row that its task has; None if it has none of them."""
    labels = PROMPT_LABELS if row.target is Direction.PROMPT else RESPONSE_LABELS
    return next((name for name in row.categories if name in labels.categories), None)


def row_turns(row: Row) -> list[Turn]:
    """Return the turns of a row, as the engine makes them; of several tool results the last one is judged."""
    if row.target is Direction.PROMPT:
        return prompt_turns(judged_prompts(row.messages)[-1])
    return [*context_turns(row.messages[:-1]), response_turn("", row.messages[-1].content)]


class GenEncoder:
    """Turns rows into examples of at most so many tokens.

    Attributes:
        counts: what rows lacked or lost; see `GenExamples`.
    """

    def __init__(self, tokenizer: GuardTokenizer, max_length: int) -> None:
        """Leave room for the longest answer, whatever a row's own is."""
        self.counts: Counter[str] = Counter()
        self._tokenizer, self._max_length = tokenizer, max_length
        longest = f"{SAFETY} {RiskLevel.CONTROVERSIAL}\n{CATEGORIES} {{}}\n{REFUSAL} Yes"
        self._n_answer = 1 + max(len(self._encode(longest.format(name))) for name in PROMPT_LABELS.categories)

    def example(self, row: Row) -> GenExample:
        """Return one row as ids.

        Raises:
            ConfigurationError: there is no room for a text beside task and policy.
        """
        text, lacks = answer_of(row)
        written = [*self._encode(text), *([] if lacks else [self._tokenizer.control_id(END)])]
        self.counts.update([lacks] if lacks else [])
        prompt = self._prompt(self._fitted(row_turns(row), 1 if row.target is Direction.PROMPT else 2))
        return GenExample(np.asarray(prompt, np.int32), np.asarray(written, np.int32), row)

    def _fitted(self, turns: list[Turn], n_judged: int) -> Sequence[Turn]:
        kept = without_old_turns(turns, n_judged, self._fits)
        if kept:
            self.counts.update(["old_turns"] if kept.n_dropped else [])
            return kept.turns
        self.counts.update(["middle"])
        *before, judged = turns[-n_judged:]
        for i, turn in enumerate(before):
            n = _largest(len(turn.text), partial(self._fits_cut, turn, judged))
            before[i] = _without_middle(turn, max(n, 0))
        n = _largest(len(judged.text), lambda n: self._fits([*before, _without_middle(judged, n)]))
        if n < 1:
            raise ConfigurationError(f"max_length = {self._max_length} has no room for a text beside task and policy")
        return [*before, _without_middle(judged, n)]

    def _fits(self, turns: Sequence[Turn]) -> bool:
        return len(self._prompt(turns)) <= self._max_length - self._n_answer

    def _fits_cut(self, before: Turn, judged: Turn, n_chars: int) -> bool:
        return self._fits([_without_middle(before, n_chars), judged])

    def _prompt(self, turns: Sequence[Turn]) -> list[int]:
        return self._tokenizer.encode_segments([*opening(turns), *closing(turns)])

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode_plain(text).ids)


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number up to `most` that fits; -1 if not even 0 does."""
    return bisect_left(range(most + 1), True, key=lambda n: not fits(n)) - 1


def _without_middle(turn: Turn, n_chars: int) -> Turn:
    """Return a turn with `n_chars` of its characters, a third of them from its beginning; what the cut joins is no
    section marker either.
    """
    if len(turn.text) <= n_chars:
        return turn
    n_head = n_chars // 3
    text = turn.text[:n_head] + turn.text[len(turn.text) - (n_chars - n_head) :]
    return Turn(turn.role, (Segment(without_markers(text), "content"),))
