"""Chunks of chat and text completions, each choice through its own answer; shared by the gateway and the SDK."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from litellm.types.utils import Delta, ModelResponseStream, StreamingChoices, TextChoices, TextCompletionResponse

from guardrail.actions import Action
from guardrail.adapters.litellm.answer import Answer
from guardrail.adapters.litellm.errors import NotUnderstood
from guardrail.adapters.litellm.exchange import Exchange
from guardrail.adapters.litellm.records import summary_of
from guardrail.repair import Attempt, next_attempt
from guardrail.waiting import Steps

Chunk = ModelResponseStream | TextCompletionResponse

TEXTS = {"reasoning_content": True, "content": False, "refusal": False}
"""Fields of a delta that hold text, each with whether it is reasoning."""

_UNREADABLE = ("audio", "images")
_PLAIN = ("id", "created", "model", "object", "system_fingerprint")


class ChatGate:
    """The chunks of one completion. One caller at a time.

    Text leaves token by token. Tool calls, and all that a chunk carries besides, leave at the end of a choice that was
    not stopped.
    """

    def __init__(self, exchange: Exchange, *, allows_repair: bool = False) -> None:
        self._exchange = exchange
        self._allows_repair = allows_repair
        self.answers: dict[int, Answer[Chunk]] = {}
        self._attempt: Attempt | None = None
        self._next: Attempt | None = None
        self._last: Chunk | None = None
        self._has_usage = False
        self._ids: dict[tuple[int, int], tuple[str, int]] = {}

    @property
    def is_done(self) -> bool:
        """Whether the LLM need not go on: every choice has ended, and one of them was stopped; or a stop raises."""
        answers = self.answers.values()
        is_stopped = any(answer.is_stopped for answer in answers)
        have_ended = len(answers) >= self._exchange.n_choices and all(answer.has_ended for answer in answers)
        return is_stopped and (have_ended or self._exchange.raises)

    @property
    def is_cut(self) -> bool:
        """Whether a choice was stopped, and what the LLM wrote is not what was released."""
        return self._attempt is not None or any(answer.is_stopped for answer in self.answers.values())

    def taking(self, chunk: Chunk) -> Steps[list[Chunk]]:
        """Take a chunk; return the chunks that may leave.

        Raises:
            NotUnderstood: the chunk holds what cannot be read, and the policy stops at that.
        """
        self._last = chunk
        made: list[Chunk] = []
        for choice in chunk.choices:
            made += yield from self._taking_choice(chunk, choice)
        usage = getattr(chunk, "usage", None)
        if usage and usage.total_tokens:  # chunks of text completions carry zeros
            self._has_usage = True
            made.append(_skeleton(chunk, [], usage=usage))
        return made

    def catching_up(self) -> Steps[list[Chunk]]:
        """Read all that was taken; return the chunks that may leave."""
        made: list[Chunk] = []
        for index, answer in self.answers.items():
            made += yield from answer.catching_up()
            if answer.is_stopped and not answer.has_ended:
                made += yield from self._ending(index, answer)
        return made

    def finishing(self) -> Steps[list[Chunk]]:
        """Come to an end: the LLM has ended, or was ended; return the rest."""
        made: list[Chunk] = []
        for index, answer in self.answers.items():
            if not answer.has_ended:
                made += yield from self._ending(index, answer)
        return made

    @property
    def is_repairable(self) -> bool:
        """Whether a stopped answer waits for the LLM to go on with it."""
        return self._next is not None

    def repairing(self) -> list[dict[str, Any]]:
        """Start another attempt; return what is said to the LLM before it."""
        if self._next is None:
            raise RuntimeError("nothing waits for a repair")
        category = self.answers[0].decision.category
        self._attempt, self._next = self._next, None
        self.answers[0] = Answer(self._exchange, self._attempt)
        return self._exchange.asking_again(self._attempt, category)

    def counting(self, usage: Any) -> Chunk | None:
        """Return a chunk with the usage, unless the LLM has sent one."""
        return None if self._has_usage or self._last is None else _skeleton(self._last, [], usage=usage)

    def close(self) -> None:
        """Free what is still open."""
        for answer in self.answers.values():
            answer.close()

    def _taking_choice(self, chunk: Chunk, choice: Any) -> Steps[list[Chunk]]:
        answer = self.answers.setdefault(choice.index, Answer(self._exchange))
        if answer.has_ended:
            return []
        yield from answer.opening()
        made: list[Chunk] = []
        if role := getattr(getattr(choice, "delta", None), "role", None):
            made += answer.passing(lambda _: _skeleton(chunk, [_choice(choice, Delta(role=role, content=""))]))
        for field, text, thinking in _texts(choice):
            render = partial(_show, chunk, choice, field)
            made += yield from answer.reading(text, render, thinking=thinking)
            if answer.is_stopped:
                break
        if not answer.is_stopped:
            made += yield from self._taking_rest(answer, chunk, choice)
        if answer.is_stopped or choice.finish_reason:
            made += yield from self._ending(choice.index, answer)
            if not answer.is_stopped:
                made.append(_skeleton(chunk, [_ended(choice, choice.finish_reason)]))
        return made

    def _taking_rest(self, answer: Answer[Chunk], chunk: Chunk, choice: Any) -> Steps[list[Chunk]]:
        made: list[Chunk] = []
        delta = getattr(choice, "delta", None)
        for call in (delta and delta.tool_calls) or ():
            made += yield from answer.calling(self._key_of(choice.index, call), *call_texts(call))
        if delta and (call := delta.function_call):
            made += yield from answer.calling("function_call", call.name or "", call.arguments or "")
        refuse_unreadable(self._exchange, delta)
        if rest := _rest(chunk, choice):
            answer.setting_aside(rest)
        return made

    def _key_of(self, choice: int, call: Any) -> tuple[int, int]:
        """Return which call a piece belongs to: providers without indices number all alike, and ids tell them apart."""
        place = (choice, call.index)
        known, n_before = self._ids.get(place, ("", 0))
        if known and call.id and call.id != known and call_texts(call)[0]:
            n_before += 1
        self._ids[place] = (call.id or known, n_before)
        return call.index, n_before

    def _ending(self, index: int, answer: Answer[Chunk]) -> Steps[list[Chunk]]:
        made = yield from answer.finishing()
        if answer.is_stopped and self._allows_repair and index == 0:
            policy = self._exchange.guard.policy
            self._next = next_attempt(policy, answer.decision, self._attempt, answer.released)
        if answer.is_stopped and self._last and not self._next:
            made += self._closing(self._last, index, answer)
        return made

    def _closing(self, chunk: Chunk, index: int, answer: Answer[Chunk]) -> Iterator[Chunk]:
        answer.has_ended = True
        if self._exchange.raises:
            return
        text = self._exchange.closing_text(answer.decision)
        choice: Any = (
            TextChoices(index=index, text="")
            if isinstance(chunk, TextCompletionResponse)
            else StreamingChoices(index=index, delta=Delta())
        )
        if text:
            yield _show(chunk, choice, "content", text)
        last = _ended(choice, "content_filter")
        if isinstance(last, StreamingChoices):
            last.delta.provider_specific_fields = {"guardrail": summary_of(answer.decision)}
        yield _skeleton(chunk, [last])


def refuse_unreadable(exchange: Exchange, *messages: Any) -> None:
    """Refuse messages or deltas with audio or images, if the policy stops at what cannot be read.

    Raises:
        NotUnderstood: there are such.
    """
    if exchange.guard.policy.unreadable is not Action.STOP:
        return
    if any(getattr(message, name, None) for message in messages for name in _UNREADABLE):
        raise NotUnderstood("the answer holds audio or images, at which the policy stops")


def _texts(choice: Any) -> Iterator[tuple[str, str, bool]]:
    """Yield the texts of a choice: the field, the text, and whether it is reasoning."""
    if isinstance(choice, TextChoices):
        if choice.text:
            yield "content", choice.text, False
        return
    for field, thinking in TEXTS.items():
        if text := getattr(choice.delta, field, None):
            if not isinstance(text, str):
                raise NotUnderstood(f"a delta's {field} is {type(text).__name__}, not text")
            yield field, text, thinking


def call_texts(call: Any) -> tuple[str, str]:
    """Return a call's piece: of the name, and of the arguments or a custom tool's input."""
    if function := getattr(call, "function", None):
        return function.name or "", function.arguments or ""
    if custom := getattr(call, "custom", None):
        held = custom if isinstance(custom, dict) else dict(custom)
        return held.get("name") or "", held.get("input") or ""
    raise NotUnderstood("a tool call is neither a function's nor a custom tool's")


def _show(chunk: Chunk, choice: Any, field: str, text: str) -> Chunk:
    if isinstance(choice, TextChoices):
        return _skeleton(chunk, [TextChoices(index=choice.index, text=text)])
    said: dict[str, Any] = {field: text}
    return _skeleton(chunk, [_choice(choice, Delta(**said))])


def _choice(choice: Any, delta: Delta) -> StreamingChoices:
    return StreamingChoices(index=choice.index, delta=delta)


def _ended(choice: Any, finish_reason: str) -> StreamingChoices | TextChoices:
    if isinstance(choice, TextChoices):
        return TextChoices(index=choice.index, text="", finish_reason=finish_reason)
    return StreamingChoices(index=choice.index, delta=Delta(), finish_reason=finish_reason)


def _rest(chunk: Chunk, choice: Any) -> Chunk | None:
    """Return a chunk with what this one carries for a choice besides text, if anything."""
    extras = {key: value for key, value in chunk.model_dump(exclude_none=True).items() if key not in _KNOWN}
    logprobs = getattr(choice, "logprobs", None)
    if isinstance(choice, TextChoices):
        held = TextChoices(index=choice.index, text="", logprobs=logprobs)
        return _skeleton(chunk, [held], **extras) if logprobs or extras else None
    delta = choice.delta.model_copy(deep=True)
    for field in (*TEXTS, "role"):
        if getattr(delta, field, None) is not None:
            setattr(delta, field, None)
    if not (logprobs or extras or any(delta.model_dump(exclude_none=True).values())):
        return None
    return _skeleton(chunk, [StreamingChoices(index=choice.index, delta=delta, logprobs=logprobs)], **extras)


_KNOWN = {*_PLAIN, "choices", "usage", "service_tier"}


def strip(response: Any) -> None:
    """Take all from a whole completion that says something besides its choices' messages and texts."""
    for holder, kept in ((response, _KNOWN), *((choice, _OF_CHOICE) for choice in response.choices)):
        for name in set(holder.model_extra or ()) - kept:
            delattr(holder, name)
    for choice in response.choices:
        if getattr(choice, "provider_specific_fields", None):
            choice.provider_specific_fields = None


_OF_CHOICE = {"index", "message", "text", "finish_reason", "logprobs"}
"""Fields of a choice in which nothing is left unread."""


def _skeleton(chunk: Chunk, choices: list[Any], **fields: Any) -> Chunk:
    """Return a chunk of the same answer that holds nothing of this one but its name tags."""
    kind: type[Any] = type(chunk)
    tags = {name: getattr(chunk, name) for name in _PLAIN if getattr(chunk, name, None) is not None}
    if kind is ModelResponseStream:
        tags.pop("object", None)
    made: Chunk = kind(**tags, choices=choices, **fields)
    made._hidden_params = chunk._hidden_params
    return made
