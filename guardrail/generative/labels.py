"""Where a Qwen3Guard-Gen model shows its verdict: the tokens at which its possible answers part.

The heads of such a model are rows of its output matrix: those of the tokens that begin a label. They are found by
tokenising whole answers, since the space before a label belongs to the label's token.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from guardrail.encoding import GuardTokenizer
from guardrail.errors import CheckpointError
from guardrail.generative.template import PROMPT_FORM, PROMPT_TASK, RESPONSE_FORM, RESPONSE_TASK
from guardrail.taxonomy import GENERATIVE_RESPONSE_LABELS, PROMPT_LABELS, REFUSALS

SAFETY, CATEGORIES, REFUSAL = "Safety:", "Categories:", "Refusal:"
"""How the lines of an answer begin."""

TEMPLATE_FILES = ("chat_template.jinja", "tokenizer_config.json")
"""Where a checkpoint may keep its chat template."""


def head_rows(tokenizer: GuardTokenizer) -> dict[str, tuple[int, ...]]:
    """Return the rows of the output matrix that make each head, in the order of its labels.

    The names are those of the heads' tensors in a checkpoint that has them.

    Raises:
        CheckpointError: two labels begin with the same token.
    """
    risk = _first_tokens(tokenizer, SAFETY, [risk.value for risk in PROMPT_LABELS.risks])
    categories = _first_tokens(tokenizer, CATEGORIES, PROMPT_LABELS.categories)
    row = dict(zip(PROMPT_LABELS.categories, categories, strict=True))
    row |= zip(REFUSALS, _first_tokens(tokenizer, REFUSAL, ["Yes", "No"]), strict=True)
    return {
        "risk_level_head.weight": risk,
        "category_head.weight": tuple(row[name] for name in GENERATIVE_RESPONSE_LABELS.categories),
        "query_risk_level_head.weight": risk,
        "query_category_head.weight": categories,
    }


def check_template(folder: Path) -> None:
    """Refuse a checkpoint that was not trained on the prompt it will get: any language model has this architecture.

    Raises:
        CheckpointError: there is no chat template, or it says something else.
    """
    template = _template(folder).replace("\\n", "\n")
    if not all(text in template for text in (PROMPT_TASK, PROMPT_FORM, RESPONSE_TASK, RESPONSE_FORM)):
        raise CheckpointError(
            "the chat template is not that of Qwen3Guard-Gen", hint="other language models cannot be used as a guard"
        )


def _template(folder: Path) -> str:
    """Return the chat template, from either of the files that may hold it."""
    for name in TEMPLATE_FILES:
        try:
            text = (folder / name).read_text("utf-8")
            found = json.loads(text)["chat_template"] if name.endswith(".json") else text
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            continue
        if isinstance(found, str):
            return found
    raise CheckpointError("no chat template beside the checkpoint", hint=f"copy {' or '.join(TEMPLATE_FILES)}")


def _first_tokens(tokenizer: GuardTokenizer, line: str, words: Sequence[str]) -> tuple[int, ...]:
    """Return the token at which each word's line leaves the beginning that all of them share."""
    shared = tokenizer.encode_plain(line).ids
    lines = [tokenizer.encode_plain(f"{line} {word}").ids for word in words]
    found = tuple(ids[len(shared)] for ids in lines if ids[: len(shared)] == shared)
    if len(set(found)) < len(words):
        raise CheckpointError(
            f"what follows {line} does not begin with one token each", hint="use the model's tokenizer"
        )
    return found
