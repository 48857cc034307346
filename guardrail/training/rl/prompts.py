"""Prompts of a run: read from files of the data schema, and rendered as the policy model's own template wants them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.evaluation.rows import Row, read_rows
from guardrail.taxonomy import RiskLevel
from guardrail.training.recipe.sent import chat_messages
from guardrail.training.rewards.values import BEGIN
from guardrail.training.rl.settings import PromptSettings


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a policy model is asked.

    Attributes:
        id: unique within a run, but for the mode.
        messages: the conversation; a user's turn stands last.
        is_harmful: whether it asks for harm: its label is not Safe.
        thinks: whether the model thinks before it answers, where its template knows that.
    """

    id: str
    messages: tuple[Message, ...]
    is_harmful: bool
    thinks: bool = False


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt as the model reads it.

    Attributes:
        prompt: what was rendered.
        text: up to where the answer begins; without the token that the tokenizer puts in front of every text.
        is_thinking: whether it ends inside of the thinking.
    """

    prompt: Prompt
    text: str
    is_thinking: bool


def read_prompts(files: Iterable[PromptSettings], seed: int) -> list[Prompt]:
    """Return the prompts of all files, in their order; a prompt that stands there twice counts once.

    Raises:
        ConfigurationError: a file cannot be read, or a row says of its answer alone whether it is safe.
    """
    found: dict[tuple[Message, ...], Prompt] = {}
    for file in files:
        prompts = [_prompt_of(row, file) for row in read_rows(file.path)]
        usable = [prompt for prompt in prompts if prompt.messages and prompt.messages[-1].role is Role.USER]
        order = np.random.default_rng(seed).permutation(len(usable))[: file.max_rows or None]
        for i in sorted(order):
            found.setdefault(usable[i].messages, usable[i])
    return [*found.values()]


def _prompt_of(row: Row, file: PromptSettings) -> Prompt:
    is_answer = row.target is Direction.RESPONSE
    if file.is_benign is None and is_answer:
        raise ConfigurationError(
            f"{file.path.name}, row {row.id!r}: its label is that of an answer", hint="say is_benign for the file"
        )
    is_harmful = row.risk is not RiskLevel.SAFE if file.is_benign is None else not file.is_benign
    return Prompt(f"{row.source}:{row.id}", row.messages[:-1] if is_answer else row.messages, is_harmful)


class Renderer:
    """Renders prompts with a tokenizer's chat template."""

    def __init__(self, tokenizer: Any) -> None:
        """Take the tokenizer of transformers.

        Raises:
            ConfigurationError: it has no chat template.
        """
        if not tokenizer.chat_template:
            raise ConfigurationError(
                "the policy model's tokenizer has no chat template", hint="start from an instruct model"
            )
        self._tokenizer = tokenizer

    def render(self, prompt: Prompt) -> Rendered:
        """Return a prompt as the model reads it.

        Raises:
            ConfigurationError: the template refuses it; the message names its id.
        """
        try:
            text = self._tokenizer.apply_chat_template(
                chat_messages(prompt.messages),
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=prompt.thinks,
            )
        except Exception as error:  # a template may raise whatever it likes: it refuses a role, an order
            raise ConfigurationError(
                f"the chat template refuses prompt {prompt.id!r}: {type(error).__name__}"
            ) from error
        # Whoever encodes it, here, in the trainer or at a server, puts that token in front again.
        text = text.removeprefix(self._tokenizer.bos_token or "")
        return Rendered(prompt, text, is_thinking=text.rstrip().endswith(BEGIN))
