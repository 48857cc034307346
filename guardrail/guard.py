"""The facade: check prompts and answers, open streams, sync and async; the only place that combines the core."""

import logging
import time
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from guardrail.batches import Batches
from guardrail.cascade import CascadeReader, Strong
from guardrail.checking import checking_prompt
from guardrail.context import Context, check_categories, identify
from guardrail.conversation import Conversation, to_messages
from guardrail.decision import Decision, Direction
from guardrail.driving import adrive, drive
from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Engine, ModelInfo
from guardrail.judging import Judging
from guardrail.loading import Loading
from guardrail.normalising.reader import with_twin
from guardrail.policy import Policy
from guardrail.policy_file import PolicySource, load_policy
from guardrail.prefixes import Owner
from guardrail.reader import Reader
from guardrail.records.base import Sink, checked_sinks
from guardrail.repair import Attempt
from guardrail.reuse import KEPT_BYTES, KeptTapes, Tapes
from guardrail.stream import Stream
from guardrail.tape import Receipt, Steps
from guardrail.token_reader import TokenReader
from guardrail.tool_checks import ToolChecks

_log = logging.getLogger("guardrail")


class Guard(Loading, Judging, ToolChecks, Batches):
    """A guard model with a policy. Safe for many threads and tasks at once; each stream has one caller at a time.

    Calls of one tenant share what the engine has read: history and system prompts are not read again.

    Attributes:
        engine: runs the model.
        reader: reads texts with it.
        policy: decides what is done about verdicts.
        sinks: where decisions are recorded.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: GuardTokenizer | Reader,
        *,
        policy: PolicySource = "balanced",
        sinks: Sequence[Sink] = (),
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        """Combine an engine with the tokenizer of its model.

        Args:
            engine: runs the model.
            tokenizer: of that model; or a reader, for models of other kinds than Qwen3Guard-Stream.
            policy: ready policy's name, TOML file or policy.
            sinks: where decisions are recorded.
            kept_bytes: memory for what was read and may be needed again; 0 keeps nothing and reads history again.

        Raises:
            PolicyError: the policy cannot be read, or names a category that neither its models nor the taxonomy know.
            ConfigurationError: what should be a sink is none.
        """
        self.engine = engine
        self.policy: Policy = load_policy(policy)
        self._failed_writes = [0]
        self.reader: Reader = TokenReader(tokenizer) if isinstance(tokenizer, GuardTokenizer) else tokenizer
        self.sinks: tuple[Sink, ...] = checked_sinks(sinks)
        check_categories(self.policy, self.models)
        self._identity = identify(engine, self.policy)
        self._kept = KeptTapes(engine, kept_bytes) if kept_bytes else None

    @classmethod
    def cascade(
        cls,
        cheap: "Guard",
        strong: "Guard",
        *,
        policy: PolicySource | None = None,
        sinks: Sequence[Sink] | None = None,
    ) -> Self:
        """Combine two guards: the cheap one reads everything, the strong one where the policy's `cascade` says so.

        Closing it closes both.

        Args:
            cheap: its policy and sinks are taken over unless others are given.
            strong: any guard; of it, the model counts alone.
            policy: ready policy's name, TOML file or policy.
            sinks: where decisions are recorded.

        Raises:
            PolicyError: as the constructor.
        """

        def tapes(owner: Owner) -> Tapes:
            return Tapes(strong.engine, strong._kept, owner)

        reader = CascadeReader(cheap.reader, Strong(strong.reader, strong.engine, tapes, strong.close))
        policy, sinks = cheap.policy if policy is None else policy, cheap.sinks if sinks is None else sinks
        guard = cls(cheap.engine, reader, policy=policy, sinks=sinks, kept_bytes=0)
        guard._kept = cheap._kept
        return guard

    @property
    def models(self) -> tuple[ModelInfo, ...]:
        """Whose verdicts decide: the guard's own model, and in a cascade the strong one."""
        strong = self.reader.models if isinstance(self.reader, CascadeReader) else ()
        return (self.engine.info, *strong)

    @property
    def n_record_failures(self) -> int:
        """Records that are lost, by sinks that raised and by sinks that count; the decisions stood."""
        return self._failed_writes[0] + sum(getattr(sink, "n_lost", 0) for sink in self.sinks)

    def with_policy(self, policy: PolicySource, *, sinks: Sequence[Sink] | None = None) -> "Guard":
        """Return a guard with another policy on the same engine; sinks stay unless given, and what they lost."""
        guard = Guard(self.engine, self.reader, policy=policy, sinks=sinks or (), kept_bytes=0)
        guard._kept = self._kept
        if sinks is None:
            guard.sinks, guard._failed_writes = self.sinks, self._failed_writes
        return guard

    def check_prompt(
        self, conversation: Conversation, *, conversation_id: str | None = None, tenant: str | None = None
    ) -> Decision:
        """Judge the last user turn (or the tool results that stand last), decide and record.

        Args:
            conversation: one user message as text, or messages.
            conversation_id: your id of the conversation: for the record, and so that nothing is read twice.
            tenant: whose text it is; what is read for one tenant is never used for another.

        Raises:
            ConversationError: the messages cannot be read or hold no user or tool turn.
        """
        return drive(self.engine, self._checking_prompt(conversation, Owner(tenant, conversation_id)))

    async def acheck_prompt(
        self, conversation: Conversation, *, conversation_id: str | None = None, tenant: str | None = None
    ) -> Decision:
        """As `check_prompt`, without blocking the event loop."""
        return await adrive(self.engine, self._checking_prompt(conversation, Owner(tenant, conversation_id)))

    def check_response(
        self, conversation: Conversation, text: str, *, conversation_id: str | None = None, tenant: str | None = None
    ) -> Decision:
        """Judge a finished answer token by token, decide and record: `text[:released_chars]` may be shown.

        Raises:
            ConversationError: the messages cannot be read.
        """
        with self.open_stream(conversation, conversation_id=conversation_id, tenant=tenant) as stream:
            stream.feed(text)
            stream.finish()
            return stream.decision

    async def acheck_response(
        self, conversation: Conversation, text: str, *, conversation_id: str | None = None, tenant: str | None = None
    ) -> Decision:
        """As `check_response`, without blocking the event loop."""
        with await self.aopen_stream(conversation, conversation_id=conversation_id, tenant=tenant) as stream:
            await stream.afeed(text)
            await stream.afinish()
            return stream.decision

    def open_stream(
        self,
        conversation: Conversation,
        *,
        conversation_id: str | None = None,
        tenant: str | None = None,
        max_tokens: int | None = None,
        attempt: Attempt | None = None,
    ) -> Stream:
        """Start to moderate an answer to these messages; the context is read now, while the LLM is still starting.

        Args:
            conversation: what the LLM answers.
            conversation_id: as in `check_prompt`.
            tenant: as in `check_prompt`.
            max_tokens: most tokens asked of the LLM, so that a stop's record can tell what it saved at most.
            attempt: what earlier attempts came to, if this one repairs them; their text is read again, not released.

        Raises:
            ConversationError: the messages cannot be read.
        """
        owner = Owner(tenant, conversation_id)
        stream = self._new_stream(conversation, owner, max_tokens=max_tokens, attempt=attempt)
        stream.open()
        return stream

    async def aopen_stream(
        self,
        conversation: Conversation,
        *,
        conversation_id: str | None = None,
        tenant: str | None = None,
        max_tokens: int | None = None,
        attempt: Attempt | None = None,
    ) -> Stream:
        """As `open_stream`, without blocking the event loop."""
        owner = Owner(tenant, conversation_id)
        stream = self._new_stream(conversation, owner, max_tokens=max_tokens, attempt=attempt)
        await stream.aopen()
        return stream

    def warm_up(self) -> None:
        """Run the model once, so that the first real call is as quick as the others.

        Raises:
            EngineError: the model failed.
        """
        self.judge_prompt("Hello")

    def close(self) -> None:
        """Free the model. Guards made by `with_policy` share it."""
        if self._kept:
            self._kept.close()
        self.reader.close()
        self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _checking_prompt(self, conversation: Conversation, owner: Owner) -> Steps[Decision]:
        context = self._context(owner, Direction.PROMPT)
        return checking_prompt(context, to_messages(conversation))

    def _new_stream(self, conversation: Conversation, owner: Owner, **details: Any) -> Stream:
        messages = to_messages(conversation)
        context = self._context(owner, Direction.RESPONSE, **details)
        return Stream(context, context.read_answer(messages))

    def _context(self, owner: Owner, direction: Direction, **details: Any) -> Context:
        return Context(
            reader=with_twin(self.reader, self.policy.normalise),
            tapes=Tapes(self.engine, self._kept, owner),
            policy=self.policy,
            identity=self._identity,
            stream_id=_new_id(),
            conversation_id=owner.conversation_id,
            tenant=owner.tenant,
            clock=time.perf_counter,
            wall_clock=time.time,
            new_id=_new_id,
            record=self._record,
            direction=direction,
            **details,
        )

    def _record(self, decision: Decision, text: str) -> list[Receipt]:
        """Hand a decision to every sink; one that fails is logged and counted, and changes nothing."""
        receipts = []
        for sink in self.sinks:
            try:
                receipt = sink.write(decision, text)
            except Exception as error:  # noqa: BLE001  # the record sink's edge: a broken sink never changes a decision
                self._failed_writes[0] += 1
                _log.error("sink %s failed: %s", type(sink).__name__, type(error).__name__)
            else:
                receipts += [receipt] if isinstance(receipt, Receipt) else []
        return receipts


def _new_id() -> str:
    return uuid.uuid4().hex
