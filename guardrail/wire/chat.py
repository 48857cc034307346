"""Chunks of chat and text completions, each choice through its own answer."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from guardrail.actions import Action
from guardrail.decision import Decision
from guardrail.repair import Attempt, next_attempt
from guardrail.waiting import Steps
from guardrail.wire.answer import Answer
from guardrail.wire.errors import NotUnderstood
from guardrail.wire.exchange import Exchange
from guardrail.wire.summary import summary_of

Chunk = dict[str, Any]

TEXTS = {"reasoning_content": True, "reasoning": True, "content": False, "refusal": False}
"""Fields of a delta or message that hold text, each with whether it is reasoning. Some servers send two of them with
one text."""

TAGS = ("id", "object", "created", "model", "system_fingerprint", "service_tier")
"""Fields of a completion that name it."""

KNOWN = {*TAGS, "choices", "usage", "obfuscation"}
"""Fields of a completion in which nothing is left unread; obfuscation is padding, and stays behind."""

_UNREADABLE = ("audio", "images")
_MAX_TAG_CHARS = 256
"""Longest name or reason that is passed on unread. Our choice."""


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
        self._begun: set[int] = set()
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
        for name in TAGS:
            _tag(chunk.get(name))
        self._last = chunk
        made: list[Chunk] = []
        for choice in chunk["choices"] or ():
            made += yield from self._taking_choice(chunk, choice)
        usage = chunk.get("usage")
        if usage and usage.get("total_tokens"):  # chunks of text completions carry zeros
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

    def refusing(self, chunk: Chunk, decision: Decision) -> list[Chunk]:
        """Return the chunks of a completion that is stopped before it has begun; `chunk` has its tags and choices."""
        made: list[Chunk] = []
        for choice in chunk["choices"]:
            index = choice["index"]
            answer = self.answers[index] = Answer(self._exchange)
            answer.refuse(decision)
            if chunk["object"] != "text_completion":
                made.append(_shown(chunk, index, ("content",), "", role="assistant"))
            made += self._closing(chunk, index, answer)
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

    def counting(self, usage: Mapping[str, Any]) -> Chunk | None:
        """Return a chunk with the usage, unless the LLM has sent one."""
        return None if self._has_usage or self._last is None else _skeleton(self._last, [], usage=usage)

    def close(self) -> None:
        """Free what is still open."""
        for answer in self.answers.values():
            answer.close()

    def _taking_choice(self, chunk: Chunk, choice: Chunk) -> Steps[list[Chunk]]:
        index = _index(choice)
        answer = self.answers.setdefault(index, Answer(self._exchange))
        if answer.has_ended:
            return []
        yield from answer.opening()
        made: list[Chunk] = []
        if (role := _tag(_delta(choice).get("role"))) and index not in self._begun:
            self._begun.add(index)
            made += answer.passing(lambda _: _shown(chunk, index, ("content",), "", role=role))
        for names, text, thinking in _texts(choice):
            render = partial(_shown, chunk, index, names)
            made += yield from answer.reading(text, render, thinking=thinking)
            if answer.is_stopped:
                break
        if not answer.is_stopped:
            made += yield from self._taking_rest(answer, chunk, choice)
        reason = _tag(choice.get("finish_reason"))
        if answer.is_stopped or reason:
            made += yield from self._ending(index, answer)
            if not answer.is_stopped:
                made.append(_ended(chunk, index, reason))
        return made

    def _taking_rest(self, answer: Answer[Chunk], chunk: Chunk, choice: Chunk) -> Steps[list[Chunk]]:
        made: list[Chunk] = []
        delta = _delta(choice)
        for call in delta.get("tool_calls") or ():
            made += yield from answer.calling(self._key_of(_index(choice), call), *call_texts(call))
        if call := delta.get("function_call"):
            made += yield from answer.calling("function_call", call.get("name") or "", call.get("arguments") or "")
        refuse_unreadable(self._exchange, delta)
        if rest := _rest(chunk, choice):
            answer.setting_aside(rest)
        return made

    def _key_of(self, choice: int, call: Mapping[str, Any]) -> tuple[int, int]:
        """Return which call a piece belongs to: providers without indices number all alike, and ids tell them apart."""
        place = (choice, call.get("index") or 0)
        known, n_before = self._ids.get(place, ("", 0))
        given = call.get("id")
        if known and given and given != known and call_texts(call)[0]:
            n_before += 1
        self._ids[place] = (given or known, n_before)
        return place[1], n_before

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
        if text := self._exchange.closing_text(answer.decision):
            yield _shown(chunk, index, ("content",), text)
        yield _ended(chunk, index, "content_filter", guardrail=summary_of(answer.decision))


def refuse_unreadable(exchange: Exchange, *messages: Mapping[str, Any]) -> None:
    """Refuse messages or deltas with audio or images, if the policy stops at what cannot be read.

    Raises:
        NotUnderstood: there are such.
    """
    if exchange.guard.policy.unreadable is not Action.STOP:
        return
    if any(message.get(name) for message in messages for name in _UNREADABLE):
        raise NotUnderstood("the answer holds audio or images, at which the policy stops")


def texts_of(holder: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str, bool]]:
    """Yield the texts of a delta or message: the fields that hold it, the text, and whether it is reasoning.

    Raises:
        NotUnderstood: one of the fields holds something else.
    """
    said = {name: holder[name] for name in TEXTS if holder.get(name)}
    for name, text in said.items():
        if not isinstance(text, str):
            raise NotUnderstood(f"a delta's {name} is {type(text).__name__}, not text")
    names: dict[str, tuple[str, ...]] = {name: (name,) for name in said}
    if "reasoning" in said and said["reasoning"] == said.get("reasoning_content"):
        names["reasoning_content"] += names.pop("reasoning")
    for name, fields in names.items():
        yield fields, said[name], TEXTS[name]


def call_texts(call: Mapping[str, Any]) -> tuple[str, str]:
    """Return a call's piece: of the name, and of the arguments or a custom tool's input.

    Raises:
        NotUnderstood: it is of another kind.
    """
    if function := call.get("function"):
        return function.get("name") or "", function.get("arguments") or ""
    if custom := call.get("custom"):
        return custom.get("name") or "", custom.get("input") or ""
    raise NotUnderstood("a tool call is neither a function's nor a custom tool's")


def _texts(choice: Chunk) -> Iterator[tuple[tuple[str, ...], str, bool]]:
    return texts_of({"content": choice.get("text")} if "text" in choice else _delta(choice))


def _delta(choice: Chunk) -> Mapping[str, Any]:
    delta: Mapping[str, Any] = choice.get("delta") or {}
    return delta


def _index(choice: Chunk) -> int:
    index = choice.get("index", 0)
    if not isinstance(index, int):
        raise NotUnderstood("a choice has no number")
    return index


def _tag(value: Any) -> Any:
    """Return what is passed on unread: a number, or a name too short to say much."""
    if value is None or isinstance(value, int | float) or (isinstance(value, str) and len(value) <= _MAX_TAG_CHARS):
        return value
    raise NotUnderstood("a name in a chunk is none")


def _shown(chunk: Chunk, index: int, names: tuple[str, ...], text: str, **more: str) -> Chunk:
    said = {**more, **dict.fromkeys(names, text)}
    return _skeleton(chunk, [_choice(chunk, index, said, None)])


def _ended(chunk: Chunk, index: int, finish_reason: str, **more: Any) -> Chunk:
    return _skeleton(chunk, [{**_choice(chunk, index, {}, finish_reason), **more}])


def _choice(chunk: Chunk, index: int, said: Mapping[str, str], finish_reason: str | None) -> Chunk:
    if chunk.get("object") == "text_completion":
        return {"index": index, "text": said.get("content", ""), "logprobs": None, "finish_reason": finish_reason}
    return {"index": index, "delta": said, "finish_reason": finish_reason}


def _rest(chunk: Chunk, choice: Chunk) -> Chunk | None:
    """Return a chunk with what this one carries for a choice besides text, if anything."""
    extras = {name: value for name, value in chunk.items() if name not in KNOWN and value is not None}
    delta = {name: value for name, value in _delta(choice).items() if name not in (*TEXTS, "role") and value}
    more = {name: value for name, value in choice.items() if name not in _OF_CHOICE and value is not None}
    if not (extras or delta or more):
        return None
    return _skeleton(chunk, [{**_choice(chunk, _index(choice), delta, None), **more}], **extras)


_OF_CHOICE = ("index", "delta", "text", "finish_reason")


def _skeleton(chunk: Chunk, choices: list[Chunk], **fields: Any) -> Chunk:
    """Return a chunk of the same answer that holds nothing of this one but its name tags."""
    tags = {name: chunk[name] for name in TAGS if chunk.get(name) is not None}
    return {**tags, "choices": choices, **fields}
