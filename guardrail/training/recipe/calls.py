"""What a stage asks of a model, and what comes back: values, so that the same question is asked only once."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Protocol

from guardrail.conversation import Message

Form = Literal["chat", "completion", "guard"]
"""How a model is asked: with a conversation to continue, with a text to continue, or with a conversation whose last
turn it judges in the words of Qwen3Guard-Gen."""


@dataclass(frozen=True, slots=True)
class Call:
    """One question to a model. Two equal calls are the same question.

    Attributes:
        model: its name in the recipe.
        form: how it is asked.
        messages: the conversation; empty for a completion.
        prompt: the text to continue; empty otherwise.
        n: samples that the reply holds; a server may need several requests to bring them.
        sample: tells apart calls that are otherwise equal: the number of the sample.
        max_tokens: most tokens of a sample.
        temperature: of sampling; 0 is greedy.
        top_p: of sampling.
        stop: texts that end a sample; they are not part of it.
        schema: JSON schema that the answer must follow; None for free text.
    """

    model: str
    form: Form = "chat"
    messages: tuple[Message, ...] = ()
    prompt: str = ""
    n: int = 1
    sample: int = 0
    max_tokens: int = 1024
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = field(default=None, hash=False)

    def key(self, identity: str) -> bytes:
        """Return what tells this call from every other one: 32 bytes.

        Args:
            identity: of the model that is asked: two models of one name, or one model under two names.
        """
        values = _fields_of(self) | {"model": identity}
        values |= {"temperature": float(self.temperature), "top_p": float(self.top_p)}  # 0 and 0.0 are equal
        text = json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=_fields_of)
        return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


def key_after(key: bytes, n_before: int) -> bytes:
    """Return the key of the request that goes on with a call: 32 bytes.

    Args:
        key: of the call.
        n_before: samples that the requests before it brought.
    """
    return hashlib.sha256(key + n_before.to_bytes(4, "big")).digest()


def _fields_of(value: Any) -> dict[str, Any]:
    """Return a dataclass's fields by name; `asdict` would copy a schema for each call, which takes longest of all."""
    return {one.name: getattr(value, one.name) for one in fields(value)}


@dataclass(frozen=True, slots=True)
class Text:
    """One sample.

    Attributes:
        text: what the model wrote, without its thinking.
        thinking: what it thought; None when nothing, or when it is no reasoning model.
        is_cut: whether it was cut off at `max_tokens`.
    """

    text: str
    thinking: str | None = None
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's answer.

    Attributes:
        texts: the samples, `n` of them.
        n_input: tokens that were read, as the server counts them.
        n_output: tokens that were written, by all samples.
    """

    texts: tuple[Text, ...]
    n_input: int = 0
    n_output: int = 0

    @property
    def text(self) -> str:
        """The first sample's text."""
        return self.texts[0].text

    def __add__(self, other: "Reply") -> "Reply":
        """Return the samples and tokens of both, one behind the other."""
        return Reply(self.texts + other.texts, self.n_input + other.n_input, self.n_output + other.n_output)


class Ask(Protocol):
    """Asks a model: from the cache if it was asked before, else within its limits and the budget."""

    async def __call__(self, call: Call) -> Reply:
        """Return the answer.

        Raises:
            CallRefused: the server will never answer this call; the row is to be left out and counted.
            EngineError: the model cannot be asked now; the stage ends, and goes on when it is started again.
            BudgetSpent: no more calls are allowed; likewise.
        """
