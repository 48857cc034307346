"""What a run starts from, and what it leaves: a sequence-classification checkpoint with one label, a chat template."""

from pathlib import Path
from typing import Any

import torch

from guardrail.checkpoint import TOKENIZER_FILE
from guardrail.errors import ConfigurationError, MissingExtra
from guardrail.loader import find_checkpoint
from guardrail.training.rewards.learning.settings import HelpfulnessSettings
from guardrail.whole_files import whole_folder

try:
    from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast
except ModuleNotFoundError as error:
    raise MissingExtra("transformers", "train") from error

END, PAD = "<|im_end|>", "<|endoftext|>"
BEGIN = "<|im_start|>"

CHAT_TEMPLATE = (
    "{%- for message in messages -%}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
)
"""ChatML without think blocks: thinking is not shown to the model."""


def open_tokenizer(folder: Path) -> Any:
    """Return a start's tokenizer with our chat template, whatever template it had.

    Raises:
        ConfigurationError: it lacks the tokens that open, close and pad turns.
    """
    made: Any = PreTrainedTokenizerFast
    tokenizer = made(tokenizer_file=str(folder / TOKENIZER_FILE), eos_token=END, pad_token=PAD)
    known = tokenizer.get_vocab()
    if missing := [name for name in (BEGIN, END, PAD) if name not in known]:
        raise ConfigurationError(
            f"start: its tokenizer has no {missing[0]}", hint="start from a checkpoint of the Qwen3 kind"
        )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def open_start(settings: HelpfulnessSettings) -> tuple[Any, Any]:
    """Return the tokenizer and the model with float32 weights that a run starts from; the head is always new.

    Raises:
        ConfigurationError: there is no such model, it is of another kind, or `max_length` is beyond its context.
    """
    folder = find_checkpoint(settings.start, revision=settings.revision)
    configs: Any = AutoConfig
    models: Any = AutoModelForSequenceClassification
    torch.manual_seed(settings.seed)
    try:
        config = configs.from_pretrained(folder, num_labels=1, trust_remote_code=False)
        context = config.get_text_config().max_position_embeddings
        if settings.max_length > context:
            raise ConfigurationError(
                f"max_length = {settings.max_length} is longer than the context of {context} tokens"
            )
        tokenizer = open_tokenizer(folder)
        config.pad_token_id, config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
        if settings.fresh:
            model = models.from_config(config, dtype=torch.float32)
        else:
            model = models.from_pretrained(folder, config=config, dtype=torch.float32, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigurationError(
            f"start: cannot load {settings.start}: {type(error).__name__}", hint="a checkpoint of the Qwen3 kind"
        ) from error
    return tokenizer, model


def write_trained(model: Any, tokenizer: Any, output: Path) -> None:
    """Write the trained model with its tokenizer; see `whole_folder` for what a kill leaves of it."""
    with whole_folder(output) as unfinished:
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
