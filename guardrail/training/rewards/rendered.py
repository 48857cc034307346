"""Prompts as trainers hold them, rendered by a chat template: read back into messages, and cut off what was written.

OpenRLHF sends the prompt and the whole text as strings. Prompts come from the trainer's own data, so that the marks of
a template in them are believed; in what the policy model wrote they are text like any other.
"""

import re
from collections.abc import Sequence

from guardrail.conversation import ROLES, Message, Role
from guardrail.errors import ConversationError
from guardrail.training.rewards.values import BEGIN, END, Completion

ENDS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|end|>", "</s>", "<eos>", "<end_of_turn>")
"""Tokens that close an answer or fill up behind it, by their names in the tokenizers of Qwen, Llama, Phi and Gemma."""

LEAST_OVERLAP = 16
"""Characters of a prompt's end that a text must begin with, where the trainer cut the prompt's beginning off. Ours."""

_CHATML = re.compile(r"<\|im_start\|>(\w+)\n(.*?)(?:<\|im_end\|>\n?|\Z)", re.DOTALL)
_LLAMA = re.compile(r"<\|start_header_id\|>(\w+)<\|end_header_id\|>\n\n(.*?)(?:<\|eot_id\|>|\Z)", re.DOTALL)


def messages_of(prompt: str) -> tuple[Message, ...]:
    """Return the messages of a rendered prompt: ChatML as Qwen writes it, Llama 3's headers; any other text is one
    user message. The opening of the answer at its end is no message.

    Raises:
        ConversationError: a turn has a role that nobody knows.
    """
    form = next((form for form in (_CHATML, _LLAMA) if form.search(prompt)), None)
    if form is None:
        return (Message(Role.USER, prompt),)
    turns = [(found[1], found[2]) for found in form.finditer(prompt)]
    if turns and turns[-1][0] == Role.ASSISTANT and not _is_closed(prompt):
        turns.pop()
    return tuple(Message(_role(name), content) for name, content in turns)


def completion_of(prompt: str, query: str, messages: Sequence[Message] | None = None) -> Completion:
    """Return what a policy model wrote behind a rendered prompt.

    Args:
        prompt: rendered; where it ends inside `<think>`, the text goes on with thinking.
        query: prompt and answer as one text, end tokens and all.
        messages: of the prompt, if they are known; else they are read from it.

    Raises:
        ConversationError: the query does not go on from the prompt, or the prompt cannot be read.
    """
    text = query[_overlap(prompt, query) :]
    while ended := next((end for end in ENDS if text.rstrip().endswith(end)), None):
        text = text.rstrip().removesuffix(ended)
    opening = prompt.rstrip()
    is_thinking = opening.endswith(BEGIN) and not opening.endswith(END)
    return Completion.of(messages_of(prompt) if messages is None else messages, text, is_thinking=is_thinking)


def _overlap(prompt: str, query: str) -> int:
    """Return where the answer begins: behind the prompt, or behind as much of its end as the trainer kept."""
    if query.startswith(prompt):
        return len(prompt)
    for start in range(1, len(prompt) - LEAST_OVERLAP + 1):
        if query.startswith(prompt[start : start + LEAST_OVERLAP]) and query.startswith(prompt[start:]):
            return len(prompt) - start
    raise ConversationError("a query does not begin with its prompt", hint="send both as the model got them")


def _is_closed(prompt: str) -> bool:
    return prompt.rstrip().endswith(("<|im_end|>", "<|eot_id|>"))


def _role(name: str) -> Role:
    if name not in ROLES:
        raise ConversationError("a turn of a rendered prompt has an unknown role", hint=f"known: {', '.join(ROLES)}")
    return ROLES[name]
