"""Tiny Qwen3Guard-Gen checkpoints: a real language model of transformers, taught the format on a handful of texts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from guardrail.encoding import GuardTokenizer
from tests.generative.examples import EXAMPLES, prompt_ids, write_tokenizer


def hugging_face_tokenizer(folder: Path) -> Any:
    """The same tokenizer as transformers reads it."""
    template = (folder / "chat_template.jinja").read_text("utf-8")
    made: Any = PreTrainedTokenizerFast
    return made(tokenizer_file=str(folder / "tokenizer.json"), chat_template=template)


def write_gen(folder: Path, *, tied: bool = True, taught: bool = False, seed: int = 0) -> Qwen3ForCausalLM:
    """Write a checkpoint as transformers does: random, or one that has learnt the examples. Returns the model."""
    tokenizer = write_tokenizer(folder)
    torch.manual_seed(seed)
    config = Qwen3Config(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        intermediate_size=96, vocab_size=tokenizer.vocab_size + 8, max_position_embeddings=2048,
        tie_word_embeddings=tied, initializer_range=0.05 if taught else 0.2,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config)
    if taught:
        _teach(model, tokenizer)
    module: Any = model
    module.eval().save_pretrained(folder)
    config_file = folder / "config.json"
    assert json.loads(config_file.read_text())["architectures"] == ["Qwen3ForCausalLM"]
    return model


def _teach(model: Qwen3ForCausalLM, tokenizer: GuardTokenizer) -> None:
    """Let a model learn the examples."""
    end = tokenizer.control_id("<|im_end|>")
    rows = [
        (prompt_ids(tokenizer, example.turns), [*tokenizer.encode_plain(example.written).ids, end])
        for example in EXAMPLES
    ]
    learn_by_heart(model, rows, rate=6e-3, n_steps=300)


def learn_by_heart(model: Any, rows: Sequence[tuple[list[int], list[int]]], *, rate: float, n_steps: int) -> None:
    """Let a language model overfit on what is to be written after each prompt, both token ids."""
    longest = max(len(asked) + len(said) for asked, said in rows)
    ids = torch.tensor([[*asked, *said, *[0] * (longest - len(asked) - len(said))] for asked, said in rows])
    labels = torch.full_like(ids, -100)
    for i, (asked, said) in enumerate(rows):
        labels[i, len(asked) : len(asked) + len(said)] = torch.tensor(said)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for _ in range(n_steps):
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.02:
            return
    raise AssertionError(f"the tiny model did not learn: its loss is {loss.item():.3f}")
