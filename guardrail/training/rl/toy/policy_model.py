"""The toy's policy model: a Qwen3 of two layers, made and taught on the spot, saved as any checkpoint is."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from guardrail.errors import MissingExtra
from guardrail.training.examples import IGNORED
from guardrail.training.rl.prompts import Prompt
from guardrail.training.rl.toy.settings import ToySettings
from guardrail.training.rl.toy.world import ASSISTANT, END, LONGEST, PAD, USER, VOCABULARY, draw_answer
from guardrail.whole_files import whole_folder

try:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
except ModuleNotFoundError as error:
    raise MissingExtra("transformers", "train") from error

_TEMPLATE = (
    f"{{% for message in messages %}}{USER} {{{{ message.content }}}} {{% endfor %}}"
    f"{{% if add_generation_prompt %}}{ASSISTANT} {{% endif %}}"
)
_BATCH = 64


def make_policy_model(folder: Path, prompts: list[Prompt], settings: ToySettings) -> None:
    """Leave a checkpoint of a model that answers, sometimes refuses, and sometimes says something unsafe.

    Args:
        folder: of the checkpoint, which is there whole or not at all.
        prompts: that it is taught on.
        settings: of the toy.
    """
    torch.manual_seed(settings.seed)
    model = _fresh()
    optimiser = torch.optim.AdamW(model.parameters(), settings.warm_learning_rate)
    rng = np.random.default_rng(settings.seed)
    for step in range(settings.warm_steps):
        for group in optimiser.param_groups:  # down to nothing, so that the shares are met
            group["lr"] = settings.warm_learning_rate * (1 - step / settings.warm_steps)
        ids, labels = _batch(prompts, settings, rng)
        model(input_ids=ids, labels=labels).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    with whole_folder(folder) as unfinished:
        model.save_pretrained(unfinished)
        _tokenizer().save_pretrained(unfinished)


def _fresh() -> Any:
    made: Any = Qwen3ForCausalLM
    return made(
        Qwen3Config(
            vocab_size=len(VOCABULARY), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=64,
            eos_token_id=VOCABULARY.index(END), pad_token_id=VOCABULARY.index(PAD), bos_token_id=None,
        )
    )  # fmt: skip


def _tokenizer() -> Any:
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token=PAD))
    words.pre_tokenizer = WhitespaceSplit()
    made: Any = PreTrainedTokenizerFast
    return made(tokenizer_object=words, eos_token=END, pad_token=PAD, chat_template=_TEMPLATE)


def _batch(prompts: list[Prompt], settings: ToySettings, rng: np.random.Generator) -> tuple[Any, Any]:
    """Return ids and labels, int64 [row, position]; only answers have labels. All prompts have the same length."""
    chosen = [prompts[i] for i in rng.integers(len(prompts), size=_BATCH)]
    asked = [[USER, *prompt.messages[0].content.split(), ASSISTANT] for prompt in chosen]
    answered = [[*draw_answer(prompt.is_harmful, settings, rng), END] for prompt in chosen]
    width = len(asked[0]) + LONGEST + 1
    ids = np.full((_BATCH, width), VOCABULARY.index(PAD))
    labels = np.full((_BATCH, width), IGNORED)
    for i, (before, after) in enumerate(zip(asked, answered, strict=True)):
        whole = [VOCABULARY.index(word) for word in (*before, *after)]
        ids[i, : len(whole)] = whole
        labels[i, len(before) : len(whole)] = whole[len(before) :]
    return torch.from_numpy(ids), torch.from_numpy(labels)
