"""Labelled rows of the data schema, streamed from JSONL files, gzipped or not, or from Parquet files.

One line, one row: `id`, `source`, `lang`, `messages`, `target` (judge the last user or tool message, or the last
assistant message), `risk` (null: not labelled), `category`, `refusal`, `unsafe_start_char`, `meta`.
What rows of a training recipe have besides, `root`, `split`, `is_human` and a message's `reasoning`, is passed over:
the label is the answer's, not its thinking's.
"""

import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Annotated, Any, ClassVar, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from guardrail.conversation import Message, Role, judged_prompts
from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.taxonomy import RiskLevel, category_name

TARGETS = (Direction.PROMPT, Direction.RESPONSE)
"""What a row can ask to be judged."""

USER_TURN = " (user turn)"
"""Marks the source of a prompt that was taken from a response row."""

_GZIP_MAGIC = b"\x1f\x8b"
_PARQUET_MAGIC = b"PAR1"
_RISKS = {level.value.lower(): level for level in RiskLevel}


def judged_text(messages: Sequence[Message], target: Direction) -> str:
    """Return the text under judgement; several tool results are joined by newlines."""
    if target is Direction.RESPONSE:
        return messages[-1].content
    return "\n".join(conversation[-1].content for conversation in judged_prompts(messages))


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled conversation.

    Attributes:
        id: unique within its file.
        source: data set that it comes from.
        lang: language code, as the source spells it.
        messages: the conversation; the judged message stands last.
        target: what is judged.
        risk: the label.
        categories: canonical names of the kinds of harm; may be empty although the risk is not Safe.
        refusal: whether the answer refuses; None when not said.
        unsafe_start_char: first risky character of the judged message (Python str); None when not said.
        meta: whatever else the source tells.
    """

    id: str
    source: str
    lang: str
    messages: tuple[Message, ...]
    target: Direction
    risk: RiskLevel
    categories: tuple[str, ...] = ()
    refusal: bool | None = None
    unsafe_start_char: int | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def judged_text(self) -> str:
        """The text under judgement; several tool results are joined by newlines."""
        return judged_text(self.messages, self.target)

    @property
    def n_chars(self) -> int:
        """Characters of the whole conversation."""
        return sum(len(message.content) for message in self.messages)

    def user_turn(self) -> "Row | None":
        """Return the prompt that a harmless answer answers, as a Safe row of its own; None for every other row."""
        is_harmless = self.target is Direction.RESPONSE and self.risk is RiskLevel.SAFE
        if not is_harmless or not any(m.role is Role.USER for m in self.messages[:-1]):
            return None
        return replace(
            self, source=self.source + USER_TURN, messages=self.messages[:-1], target=Direction.PROMPT, refusal=None
        )


@dataclass(slots=True)
class Tally:
    """What was met while reading; one reader at a time.

    Attributes:
        n_lines: rows met.
        n_unlabelled: rows without a risk, left out.
        n_bad: lines that are no row, left out.
        first_bad: the first of these, by file and line, and what is wrong with it.
    """

    n_lines: int = 0
    n_unlabelled: int = 0
    n_bad: int = 0
    first_bad: str = ""

    def refuse(self, told: str, *, skip_bad: bool) -> None:
        """Count a line that is no row.

        Args:
            told: file and line, and what is wrong with it, without its text.
            skip_bad: whether reading goes on.

        Raises:
            ConfigurationError: it does not.
        """
        self.n_bad += 1
        self.first_bad = self.first_bad or told
        if not skip_bad:
            raise ConfigurationError(told, hint="--skip-bad leaves such lines out") from None


class _Strict(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True, strict=True)


class _MessageLine(_Strict):
    role: Literal["system", "user", "assistant", "tool"]
    content: str
    reasoning: str | None = None


class _RowLine(_Strict):
    id: str
    source: str
    lang: str
    messages: Annotated[list[_MessageLine], Field(min_length=1)]
    target: Literal["prompt", "response"]
    risk: Literal["safe", "controversial", "unsafe"] | None
    category: list[str] = []
    refusal: bool | None = None
    unsafe_start_char: Annotated[int, Field(ge=0)] | None = None
    meta: dict[str, Any] = {}
    root: str | None = None
    split: str | None = None
    is_human: bool | None = None


def read_rows(path: Path, *, tally: Tally | None = None, skip_bad: bool = False) -> Iterator[Row]:
    """Yield the labelled rows of a file; rows without a label are counted and left out.

    Args:
        path: JSONL file, gzipped or not, or Parquet file.
        tally: takes the counts.
        skip_bad: count lines that are no row and go on.

    Raises:
        ConfigurationError: the file cannot be read, or a line is no row (named by file and line, without its text).
    """
    tally = tally or Tally()
    for number, line in read_entries(path):
        tally.n_lines += 1
        try:
            row = parse_row(line)
        except ValueError as error:
            tally.refuse(f"{path.name}, {entry_name(line)} {number}: {error}", skip_bad=skip_bad)
            continue
        if row is None:
            tally.n_unlabelled += 1
        else:
            yield row


def parse_row(line: bytes | str | Mapping[str, Any]) -> Row | None:
    """Return the row that a line or parsed object holds; None when it has no label.

    Raises:
        ValueError: it does not follow the schema; the message holds keys and reasons, never the row's text.
    """
    try:
        if isinstance(line, bytes | str):
            parsed = _RowLine.model_validate_json(line)
        else:
            parsed = _RowLine.model_validate(line)
    except ValidationError as error:
        raise ValueError("; ".join(_explain(e) for e in error.errors()[:3])) from None
    return _to_row(parsed)


def read_entries(path: Path) -> Iterator[tuple[int, bytes | dict[str, Any]]]:
    """Yield the lines of a JSONL file as they stand, or the rows of a Parquet file, numbered from 1.

    Raises:
        ConfigurationError: the file cannot be read, or it is damaged.
        MissingExtra: it is a Parquet file, and what reads them is not installed.
    """
    if not _begins_with(path, _PARQUET_MAGIC):
        yield from read_lines(path)
        return
    from guardrail.evaluation.columns import read_columns

    yield from enumerate(read_columns(path), 1)


def entry_name(entry: bytes | Mapping[str, Any]) -> str:
    """Return what an entry is called by its number: a line of text, or a row."""
    return "line" if isinstance(entry, bytes) else "row"


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file, gzipped or not, that are not blank, numbered from 1.

    Raises:
        ConfigurationError: the file cannot be read, or its gzip data is damaged.
    """
    number = 0
    try:
        with _opened(path) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ConfigurationError(f"{path.name}: the gzip data is damaged after line {number}") from error
    except OSError as error:
        raise ConfigurationError(f"{path.name}: {error.strerror or type(error).__name__}") from error


def _to_row(line: _RowLine) -> Row | None:
    messages = tuple(Message(Role(m.role), m.content) for m in line.messages)
    target = Direction(line.target)
    _check_target(messages[-1].role, target)
    if line.unsafe_start_char is not None and line.unsafe_start_char > len(messages[-1].content):
        raise ValueError("unsafe_start_char: lies behind the end of the judged message")
    if line.risk is None:
        return None
    categories = tuple(category_name(c) for c in line.category)
    return Row(
        line.id, line.source, line.lang, messages, target, _RISKS[line.risk], categories, line.refusal,
        line.unsafe_start_char, line.meta,
    )  # fmt: skip


def _check_target(last: Role, target: Direction) -> None:
    if target is Direction.RESPONSE and last is not Role.ASSISTANT:
        raise ValueError("messages: target is response, but the last message is not the assistant's")
    if target is Direction.PROMPT and last not in (Role.USER, Role.TOOL):
        raise ValueError("messages: target is prompt, but the last message is not a user's or tool's")


def _explain(error: Any) -> str:
    where = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        line = _MessageLine if error["loc"][0] == "messages" else _RowLine
        return f"{where}: unknown key; valid: {', '.join(line.model_fields)}"
    return f"{where}: {error['msg']}" if where else str(error["msg"])


def _opened(path: Path) -> IO[bytes]:
    is_gzip = _begins_with(path, _GZIP_MAGIC)
    return cast(IO[bytes], gzip.open(path, "rb")) if is_gzip else path.open("rb")


def _begins_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError as error:
        raise ConfigurationError(f"{path.name}: {error.strerror or type(error).__name__}") from error
