"""What a run starts from, and what it leaves: a Qwen3ForCausalLM checkpoint that servers and our engine can read."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from guardrail.checkpoint import CONFIG_FILE, TOKENIZER_FILE, read_json
from guardrail.checkpoint_config import GENERATIVE_ARCHITECTURE
from guardrail.conversation import Segment
from guardrail.encoding import GuardTokenizer
from guardrail.errors import CheckpointError, ConfigurationError, MissingExtra
from guardrail.generative.labels import check_template, head_rows
from guardrail.generative.template import Turn, closing, opening, text_of
from guardrail.loader import find_checkpoint
from guardrail.training.gen.examples import END
from guardrail.training.gen.measuring import PAD
from guardrail.training.gen.settings import SftGenSettings
from guardrail.whole_files import whole_folder

try:
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast
except ModuleNotFoundError as error:
    raise MissingExtra("transformers", "train") from error

TOKENIZER_FILES = (
    TOKENIZER_FILE, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
    "chat_template.jinja",
)  # fmt: skip
"""What is carried over from the start as it is, where it is there."""

_DTYPES = {"bf16": torch.bfloat16, "f32": torch.float32}


@dataclass(frozen=True, slots=True)
class Start:
    """What is trained.

    Attributes:
        folder: of the checkpoint.
        tokenizer: ours, which is blind to control tokens in what people wrote.
        is_guard: whether its chat template is that of Qwen3Guard-Gen; else it is a language model that has to learn
            the form first.
    """

    folder: Path
    tokenizer: GuardTokenizer
    is_guard: bool

    def model(self) -> Any:
        """Return the model with float32 weights."""
        return load_model(self.folder, torch.float32)

    def hugging_face_tokenizer(self) -> Any:
        """Return the tokenizer as the trainer wants one: it pads with it, and keeps it beside its states."""
        made: Any = PreTrainedTokenizerFast
        return made(tokenizer_file=str(self.folder / TOKENIZER_FILE), eos_token=END, pad_token=PAD)


def open_start(settings: SftGenSettings) -> Start:
    """Return what a run starts from; a hub id is downloaded unless it is cached.

    Raises:
        ConfigurationError: there is no such model, it cannot be downloaded, it is no Qwen3ForCausalLM, or its context
            is shorter than `max_length`.
        CheckpointError: its files do not fit together, or two labels begin with the same token.
    """
    folder = find_checkpoint(settings.start, revision=settings.revision)
    config = read_json(folder / CONFIG_FILE)
    if config.get("architectures") != [GENERATIVE_ARCHITECTURE]:
        raise ConfigurationError(
            f"start: {settings.start} is no {GENERATIVE_ARCHITECTURE}",
            hint="start from a Qwen3Guard-Gen or Qwen3 checkpoint; train sft trains the Stream ones",
        )
    context = config.get("max_position_embeddings", 0)
    if settings.max_length > context:
        raise ConfigurationError(f"max_length = {settings.max_length} is longer than the context of {context} tokens")
    tokenizer = GuardTokenizer.from_file(folder / TOKENIZER_FILE)
    if tokenizer.vocab_size > config.get("vocab_size", 0):
        raise CheckpointError(f"{TOKENIZER_FILE} has more tokens than the embedding has rows")
    head_rows(tokenizer)
    return Start(folder, tokenizer, _has_template(folder))


def load_model(folder: Path, dtype: torch.dtype, config: Any = None) -> Any:
    """Return the causal language model of a folder, under its own config or another one.

    Raises:
        ConfigurationError: transformers cannot read it.
    """
    models: Any = AutoModelForCausalLM
    try:
        return models.from_pretrained(folder, dtype=dtype, trust_remote_code=False, config=config)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigurationError(
            f"cannot load {folder} as a language model: {type(error).__name__}", hint="is its download complete?"
        ) from error


def write_trained(start: Start, trained: Path, output: Path, settings: SftGenSettings) -> None:
    """Write the checkpoint: trained weights or merged adapters under the start's config, its tokenizer, a template.

    Args:
        start: what was trained.
        trained: folder of what the trainer saved, weights or adapters.
        output: of the checkpoint; see `whole_folder` for what a kill leaves of it.
        settings: of the run.
    """
    model = _trained_model(start, trained, settings)
    ends = [start.tokenizer.control_id(END), start.tokenizer.special_id(PAD)]
    configs: Any = GenerationConfig
    model.generation_config = configs(eos_token_id=ends, pad_token_id=ends[1])  # greedy
    with whole_folder(output) as unfinished:
        model.save_pretrained(unfinished)
        _write_tokenizer(start, unfinished)


def _trained_model(start: Start, trained: Path, settings: SftGenSettings) -> Any:
    """Return the trained model. The trainer changes the config it saves, `use_cache` for one: the start's holds."""
    dtype = _DTYPES[settings.dtype]
    if settings.tune == "full":
        configs: Any = AutoConfig
        return load_model(trained, dtype, configs.from_pretrained(start.folder))
    from peft import PeftModel

    adapted: Any = PeftModel.from_pretrained(start.model(), trained)
    return adapted.merge_and_unload().to(dtype)


def _write_tokenizer(start: Start, folder: Path) -> None:
    for name in TOKENIZER_FILES:
        if (start.folder / name).is_file():
            shutil.copyfile(start.folder / name, folder / name)
    file = folder / "tokenizer_config.json"
    config: dict[str, Any] = read_json(file) if file.is_file() else {"tokenizer_class": "PreTrainedTokenizerFast"}
    if not start.is_guard:
        (folder / "chat_template.jinja").write_text(chat_template(), "utf-8")
        config.pop("chat_template", None)
    config = {"eos_token": END, "pad_token": PAD, **config}
    file.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _has_template(folder: Path) -> bool:
    try:
        check_template(folder)
    except CheckpointError:
        return False
    return True


_TURNS = """\
    {%- for message in messages -%}
        {%- if loop.first -%}
            {%- if message.role == "system" -%}
                {{- "USER: " + message.content -}}
            {%- elif message.role == "user" -%}
                {{- "USER: " + message.content -}}
            {%- endif -%}
        {%- else -%}
            {%- if loop.index0 > 0 and messages[loop.index0 - 1].role == "system" and message.role == "user" -%}
                {{- "

"+message.content -}}
            {%- else -%}
                {%- if message.role == "assistant" -%}
                    {{- "

ASSISTANT: " + message.content -}}
                {%- elif message.role == "user" -%}
                    {{- "

USER: " + message.content -}}
                {%- endif -%}
            {%- endif -%}
        {%- endif -%}
    {%- endfor -%}
    {{- template -}}
{%- endif -%}
"""


def chat_template() -> str:
    """Return the published chat template, made from the same texts as our prompts; for starts that have another."""
    empty = Segment("", "content")
    prompt, response = [Turn("user", (empty,))], [Turn("user", (empty,)), Turn("assistant", (empty,))]
    before = [text_of(opening(turns)).partition("USER: ")[0] for turns in (prompt, response)]
    after = [text_of(closing(turns)) for turns in (prompt, response)]
    branches = [
        f'{{{{- "{one}" -}}}}\n        {{%- set template = "{two}" -%}}' for one, two in zip(before, after, strict=True)
    ]
    return (
        '{%- if messages|length > 0 -%}\n    {%- if messages[-1].role == "user" -%}\n        '
        f"{branches[0]}\n    {{%- else -%}}\n        {branches[1]}\n    {{%- endif -%}}\n{_TURNS}"
    )
