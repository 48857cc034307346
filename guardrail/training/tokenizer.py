"""Trains a byte-level BPE tokenizer with Qwen3's normaliser, pre-tokeniser and control tokens."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from guardrail.encoding import QWEN_PATTERN
from guardrail.training.corpus import documents
from guardrail.training.settings import Count, Seed, load_settings

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
ADDED = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")

LEAST_VOCABULARY = 256 + len(SPECIAL) + len(ADDED)
"""Every byte and every control token."""


@dataclass(frozen=True)
class TokenizerSettings:
    """Settings of `tokenizer`; all numbers are ours.

    Attributes:
        data_dir: folder of the files.
        files: file name -> characters taken from it.
        vocab_size: size with the control tokens.
        seed: of the selection.
        output: where tokenizer.json is written.
    """

    data_dir: Path
    files: dict[str, Count]
    vocab_size: Annotated[int, Field(ge=LEAST_VOCABULARY)]
    seed: Seed
    output: Path


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> str:
    """Return the tokenizer.json learned from texts; control tokens stand behind the learned vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL) - len(ADDED),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[],
        max_token_length=24,
    )
    tokenizer.train_from_iterator(texts, trainer)
    spec = json.loads(tokenizer.to_str())
    first = tokenizer.get_vocab_size()
    spec["added_tokens"] = [
        {"id": first + i, "content": name, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": name in SPECIAL}
        for i, name in enumerate((*SPECIAL, *ADDED))
    ]  # fmt: skip
    return json.dumps(spec, ensure_ascii=False, separators=(",", ":"))


def main(config: Path) -> None:
    """Train the tokenizer that a TOML file describes."""
    settings = load_settings(config, TokenizerSettings)
    texts = (t for name, n in settings.files.items() for t in documents(settings.data_dir / name, n, settings.seed))
    settings.output.parent.mkdir(parents=True, exist_ok=True)
    settings.output.write_text(train_tokenizer(texts, settings.vocab_size), "utf-8")
