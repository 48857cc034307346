"""The texts that an int8 KV cache is calibrated on: fixed ones, or a file's, as token ids."""

import json
from collections.abc import Sequence
from pathlib import Path

from guardrail.conversation import Message, Role, render, to_messages
from guardrail.encoding import GuardTokenizer
from guardrail.errors import ConfigurationError, ConversationError
from guardrail.onnx_export.verify_rows import LONG_ROW, TEXTS, fixed_rows, make_row

STRIDES = (3, 5, 7)
"""The fixed texts are also joined to long conversations, each with another one behind it. Ours."""


def default_rows(tokenizer: GuardTokenizer, max_context: int, *, is_generative: bool = False) -> list[list[int]]:
    """Return the rows of `guardrail verify`, and long conversations, cut to the context."""
    rows = [row.ids for row in fixed_rows(tokenizer, max_context, is_generative=is_generative)]
    for stride in STRIDES:
        turns = _conversation([TEXTS[i * stride % len(TEXTS)] for i in range(len(TEXTS))])
        rows.append(tokenizer.encode_segments(render(turns))[: min(max_context, LONG_ROW)])
    return rows


def file_rows(file: Path, tokenizer: GuardTokenizer, max_context: int) -> list[list[int]]:
    """Return the conversations of a file, each cut to the context and to `LONG_ROW` tokens.

    Args:
        file: `.jsonl`, an object a line with `messages` (role and content) or `text`; else plain text, whose paragraphs
            are texts. Every text is once a prompt and once the answer to the text before it.
        tokenizer: of the model.
        max_context: of the model, in tokens.

    Raises:
        ConfigurationError: the file is not of that kind.
        OSError: it cannot be read.
    """
    try:
        content = file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file} is not UTF-8") from error
    if file.suffix == ".jsonl":
        found = [_line(line, f"{file}:{i}") for i, line in enumerate(content.split("\n"), 1) if line.strip()]
    else:
        found = [text.strip() for text in content.split("\n\n") if text.strip()]
    texts = [text for text in found if isinstance(text, str)]
    rows = [make_row(tokenizer, *pair).ids for pair in zip(texts, texts[1:] + texts[:1], strict=True)]
    rows += [tokenizer.encode_segments(render(messages)) for messages in found if not isinstance(messages, str)]
    return [ids[: min(max_context, LONG_ROW)] for ids in rows if ids]


def _line(line: str, place: str) -> str | tuple[Message, ...]:
    """Return the text or the conversation of a line of JSON."""
    hint = 'write {"text": "..."} or {"messages": [{"role": "user", "content": "..."}]} in each line'
    try:
        row = json.loads(line)
        if isinstance(row, dict) and isinstance(row.get("text"), str):
            return str(row["text"])
        return to_messages(row["messages"])
    except (ValueError, LookupError, TypeError, RecursionError, ConversationError) as error:
        raise ConfigurationError(f"{place} holds neither a text nor messages", hint=hint) from error


def _conversation(texts: Sequence[str]) -> list[Message]:
    """Return the texts as turns of user and assistant."""
    return [Message((Role.USER, Role.ASSISTANT)[i % 2], text) for i, text in enumerate(texts)]
