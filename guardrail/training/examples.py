"""Labelled rows to training examples: ids, and which positions carry which label.

Rendering and encoding are those of inference (`conversation`, `encoding`), so that training sees the same ids.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from guardrail.conversation import ANSWER_HEADER, EMPTY_THINKING, judged_prompts, render, render_prompt, to_messages
from guardrail.encoding import GuardTokenizer, IncrementalEncoder, Token
from guardrail.errors import ConfigurationError
from guardrail.evaluation.left_out import group_of, is_left_out
from guardrail.evaluation.rows import parse_row
from guardrail.taxonomy import PROMPT_LABELS, RESPONSE_LABELS, LabelSet, RiskLevel, category_name
from guardrail.training.corpus import family_of, is_held_out, read_objects
from guardrail.training.lengths import cut_middle
from guardrail.training.settings import Count, Share

Teach = Callable[[Sequence[Mapping[str, Any]]], Sequence[tuple[float, ...] | None]]
"""From all rows to the probabilities of an answer's risk levels, in the order of `RESPONSE_LABELS`."""

TEACHER = "teacher"
"""Key of a row's `meta` under which a teacher's probabilities stand, in the order of `TEACHER_RISKS`."""

TEACHER_RISKS = (RiskLevel.SAFE, RiskLevel.CONTROVERSIAL, RiskLevel.UNSAFE)

_NEEDED = ("messages", "target", "risk", "category", "lang", "unsafe_start_char")

IGNORED = -100
"""Label of a position without a loss."""

LEAST_LENGTH = 64
"""Least `max_length`: in fewer tokens an answer's three quarters and its scaffold (15 tokens with the smallest
vocabulary, 6 with Qwen's) leave no room for a prompt."""

_ROUNDING = 0.01
"""How far the sum of a teacher's probabilities may be from 1."""

UNLABELLED_OPENING = 0.25
UNLABELLED_TOKENS = 8
"""Where a harmful answer turns harmful is unknown without a span: the first quarter, and at least 8 tokens (but at
most half of the answer), carry no label; the newlines before the answer count as a token. Ours; the reference finds
the onset with rollouts."""


@dataclass(frozen=True)
class Source:
    """How one data file is used.

    Attributes:
        max_rows: most rows of each risk level; 0 takes all.
        repeat: times each row is seen an epoch.
        skip_langs: languages left out whole, for measuring.
        leave_out: share of groups left out whole, for measuring; a protocol of `guardrail evaluate` names them alike.
        group: key of `meta` whose value groups rows; empty: the first message does.
        prompt_is_safe: whether the user turn of a response row is an ordinary, harmless request.
        as_answer: whether statements labelled as prompts are trained a second time as answers to nothing.
        unlabelled: whether rows without a label are taken too; only a teacher says something about them.
    """

    max_rows: Annotated[int, Field(ge=0)] = 0
    repeat: Count = 1
    skip_langs: tuple[str, ...] = ()
    leave_out: Share = 0.0
    group: str = ""
    prompt_is_safe: bool = False
    as_answer: bool = False
    unlabelled: bool = False


@dataclass(frozen=True, slots=True)
class HeadLabels:
    """What the outputs of the heads mean.

    Attributes:
        prompt: labels of the query heads.
        response: labels of the response heads.
    """

    prompt: LabelSet = PROMPT_LABELS
    response: LabelSet = RESPONSE_LABELS


PUBLISHED = HeadLabels()
"""Labels of the published checkpoints."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row ready for the model.

    Attributes:
        ids: int32 [position].
        query_position: where the query heads are trained; -1 without a query label.
        query_risk: index of the risk, or IGNORED.
        query_category: index of the category, or IGNORED.
        response_risk: int8 [position], IGNORED where there is no loss.
        response_category: index of the answer's category, or IGNORED.
        is_held_out: whether the row is for validation only.
        teacher: probabilities of the judged text's risk levels by a teacher; empty without one.
        teacher_share: weight of the teacher against the label in the response risk loss, in [0, 1].
        query_share: the same in the query risk loss.
    """

    ids: np.ndarray[Any, np.dtype[np.int32]]
    query_position: int
    query_risk: int
    query_category: int
    response_risk: np.ndarray[Any, np.dtype[np.int8]]
    response_category: int
    is_held_out: bool
    teacher: tuple[float, ...] = ()
    teacher_share: float = 0.0
    query_share: float = 0.0


def read_examples(
    tokenizer: GuardTokenizer,
    data_dir: Path,
    sources: Mapping[str, Source],
    max_length: int,
    seed: int,
    *,
    teach: Teach | None = None,
    teacher_share: float = 0.0,
    labels: HeadLabels = PUBLISHED,
) -> Iterator[Example]:
    """Yield the examples of all sources; `teach`, if any, sees all rows first.

    What a row's own teacher says goes before what `teach` says; of rows without a label it is all there is.

    Args:
        tokenizer: encodes.
        data_dir: folder of the files.
        sources: file name -> how it is used.
        max_length: most tokens of an example.
        seed: of the draws.
        teach: guesses the risk levels of answers that bring no teacher of their own.
        teacher_share: weight of a teacher against a label; 0 uses teachers for rows without a label only.
        labels: of the heads that are trained.

    Raises:
        ConfigurationError: a file cannot be read, or a row does not follow the schema.
    """
    chosen = [(row, source) for name, source in sources.items() for row in select_rows(data_dir / name, source, seed)]
    own = [_own_teacher(row) for row, _ in chosen]
    taught = teach([row for row, _ in chosen]) if teach and None in own else [None] * len(chosen)
    for (row, source), said, guess in zip(chosen, own, taught, strict=True):
        levels = said or (dict(zip(RESPONSE_LABELS.risks, guess, strict=True)) if guess else None)
        if row["risk"] is None and levels is None:
            continue
        risk = row["risk"] or max(levels or {}, key=(levels or {}).__getitem__)
        example = to_example(
            tokenizer, {**row, "risk": risk}, max_length, prompt_is_safe=source.prompt_is_safe, labels=labels
        )
        share = teacher_share if row["risk"] else 1.0
        yield from [_taught(example, row, levels, share, labels) if levels and share else example] * source.repeat


def _own_teacher(row: Mapping[str, Any]) -> dict[RiskLevel, float] | None:
    """Return what the row's own teacher says of each level.

    Raises:
        ConfigurationError: it does not say three probabilities.
    """
    said = (row.get("meta") or {}).get(TEACHER)
    if said is None:
        return None
    is_whole = isinstance(said, list) and len(said) == len(TEACHER_RISKS) and all(
        isinstance(p, int | float) and 0 <= p <= 1 for p in said
    )  # fmt: skip
    if not is_whole or abs(sum(said) - 1) > _ROUNDING:
        raise ConfigurationError(
            f"row {row.get('id')!r}: meta.{TEACHER} is no list of three probabilities with the sum 1",
            hint="in the order Safe, Controversial, Unsafe",
        )
    return dict(zip(TEACHER_RISKS, map(float, said), strict=True))


def _taught(
    example: Example, row: Mapping[str, Any], levels: Mapping[RiskLevel, float], share: float, labels: HeadLabels
) -> Example:
    if row["target"] == "prompt":
        return replace(example, teacher=tuple(levels[risk] for risk in labels.prompt.risks), query_share=share)
    return replace(example, teacher=tuple(levels[risk] for risk in labels.response.risks), teacher_share=share)


def select_rows(path: Path, source: Source, seed: int) -> list[dict[str, Any]]:
    """Return a file's labelled rows, at most `max_rows` of each risk level, drawn at random.

    Raises:
        ConfigurationError: no such file, or a row (named by its id) that does not follow the schema.
    """
    rows = [
        _checked(path, r)
        for r in read_objects(path, _NEEDED)
        if (r["risk"] is not None or source.unlabelled) and r["lang"] not in source.skip_langs
    ]
    rows = [row for row in rows if not _is_left_out(row, source)]
    chosen = _draw(rows, source.max_rows, seed) if source.max_rows else rows
    return chosen + [_as_answer(row) for row in chosen] if source.as_answer else chosen


def _checked(path: Path, row: dict[str, Any]) -> dict[str, Any]:
    try:
        parse_row(row)
    except ValueError as error:
        raise ConfigurationError(f"{path.name}, row {row.get('id')!r}: {error}") from None
    return row


def _is_left_out(row: Mapping[str, Any], source: Source) -> bool:
    return is_left_out(group_of(row["messages"], row.get("meta"), source.group), source.leave_out)


def _as_answer(row: dict[str, Any]) -> dict[str, Any]:
    text = row["messages"][-1]["content"]
    return {
        **row, "target": "response", "messages": [{"role": "assistant", "content": text}], "unsafe_start_char": None
    }  # fmt: skip


def _draw(rows: list[dict[str, Any]], most: int, seed: int) -> list[dict[str, Any]]:
    order = np.random.default_rng(seed).permutation(len(rows))
    taken: dict[str, int] = {}
    chosen = []
    for i in order:
        level = rows[i]["risk"]
        taken[level] = taken.get(level, 0) + 1
        if taken[level] <= most:
            chosen.append(rows[i])
    return chosen


def to_example(
    tokenizer: GuardTokenizer,
    row: Mapping[str, Any],
    max_length: int,
    *,
    prompt_is_safe: bool = False,
    labels: HeadLabels = PUBLISHED,
) -> Example:
    """Turn one row of the data schema into an example of at most `max_length` tokens, `LEAST_LENGTH` or more."""
    messages = to_messages(row["messages"])
    family = family_of(messages)
    risk = RiskLevel(row["risk"].capitalize())
    if row["target"] == "prompt":
        ids = _fit(tokenizer.encode_segments(render_prompt(judged_prompts(messages)[-1])), max_length)
        query = labels.prompt.risks.index(risk), _category_index(labels.prompt, risk, row["category"])
        return _example(ids, len(ids) - 1, query, [IGNORED] * len(ids), IGNORED, is_held_out(family))
    context = tokenizer.encode_segments(render(messages[:-1]))
    head = tokenizer.encode_segments([*ANSWER_HEADER, *EMPTY_THINKING[:-1]])
    answer = encode_answer(tokenizer, messages[-1].content)[: max_length // 2 + max_length // 4]
    context = _fit(context, max_length - len(head) - len(answer))
    ids = [*context, *head, *(token.id for token in answer)]
    onset = row["unsafe_start_char"]
    per_token = [IGNORED] * (len(ids) - len(answer)) + _label_answer(answer, risk, onset, labels.response)
    is_asked = len(messages) > 1 and messages[-2].role in ("user", "tool") and len(context) > 1
    position = len(context) - 2 if prompt_is_safe and is_asked else -1
    query = (labels.prompt.risks.index(RiskLevel.SAFE), IGNORED) if position >= 0 else (IGNORED, IGNORED)
    category = _category_index(labels.response, risk, row["category"])
    return _example(ids, position, query, per_token, category, is_held_out(family))


def _example(
    ids: list[int], position: int, query: tuple[int, int], response: list[int], category: int, held_out: bool
) -> Example:
    return Example(np.asarray(ids, np.int32), position, *query, np.asarray(response, np.int8), category, held_out)


def encode_answer(tokenizer: GuardTokenizer, text: str) -> list[Token]:
    """Return an answer's tokens as the model is trained on them, the newlines before it included."""
    encoder = IncrementalEncoder(tokenizer, EMPTY_THINKING[-1].text)
    return encoder.feed(text) + encoder.finish()


def _label_answer(tokens: list[Token], risk: RiskLevel, onset: int | None, labels: LabelSet) -> list[int]:
    """Label content tokens: all Safe for a safe answer, else the answer's level from its onset on."""
    safe, level = labels.risks.index(RiskLevel.SAFE), labels.risks.index(risk)
    if risk is not RiskLevel.SAFE and onset is None:
        n_open = min(len(tokens) // 2, max(UNLABELLED_TOKENS, int(len(tokens) * UNLABELLED_OPENING)))
        found = [IGNORED] * n_open + [level] * (len(tokens) - n_open)
    else:
        found = [level if onset is None or token.end > onset else safe for token in tokens]
    return [label if token.is_content else IGNORED for label, token in zip(found, tokens, strict=True)]


def _fit(ids: list[int], max_length: int) -> list[int]:
    """Cut the middle out of an over-long rendering; its opening and its judged end stay."""
    return cut_middle(ids, max_length, max_length // 3)


def _category_index(labels: LabelSet, risk: RiskLevel, categories: list[str]) -> int:
    known = [name for name in map(category_name, categories) if name in labels.categories]
    return labels.categories.index(known[0]) if known and risk is not RiskLevel.SAFE else IGNORED
