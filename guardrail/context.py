"""What one check or stream needs of its guard, and what both uses of a guard share."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from guardrail.actions import Action
from guardrail.conversation import Message
from guardrail.decision import Decision, Direction, Failure, Identity, Reason
from guardrail.engines.base import Engine, ModelInfo
from guardrail.errors import PolicyError
from guardrail.policy import Policy
from guardrail.reader import AnswerReader, PromptReading, Reader
from guardrail.repair import Attempt
from guardrail.reuse import Tapes
from guardrail.stop_texts import STOP_TEXTS
from guardrail.tape import Receipt, Steps
from guardrail.taxonomy import Category
from guardrail.tool_rules import Trust
from guardrail.weighing import applied, trust_for


@dataclass(frozen=True, slots=True)
class Context:
    """What a stream or check needs of its guard.

    Attributes:
        reader: reads texts with the model.
        tapes: give the engine's sessions.
        policy: decides.
        identity: who decides, for records.
        stream_id: id of this stream or check.
        conversation_id: the caller's id; None when none was given.
        clock: monotonic seconds, for latency.
        wall_clock: seconds since the epoch, for records.
        new_id: makes a unique id.
        record: takes the final decision and the fed text; returns what must end before the decision is handed on.
        direction: what is judged.
        tool: name of the tool that is called or answered.
        max_tokens: most tokens that were asked of the LLM; None if unknown.
        attempt: what earlier attempts at this answer came to; None for the first.
        tenant: whose text it is.
        unreadable: kinds of parts of the answer beside its text that cannot be read, such as "image_url".
    """

    reader: Reader
    tapes: Tapes
    policy: Policy
    identity: Identity
    stream_id: str
    conversation_id: str | None
    clock: Callable[[], float]
    wall_clock: Callable[[], float]
    new_id: Callable[[], str]
    record: Callable[[Decision, str], Sequence[Receipt]]
    direction: Direction
    tool: str | None = None
    max_tokens: int | None = None
    attempt: Attempt | None = None
    tenant: str | None = None
    unreadable: tuple[str, ...] = ()

    def decide(self, would: Action, reason: Reason, failure: Failure | None, **found: Any) -> Decision:
        """Return the decision that the rules' action comes to, with who made it, when and about what."""
        verdict = found.get("verdict")
        said = asdict(verdict.speaker) if verdict and verdict.speaker else {}
        return Decision(
            id=self.new_id(),
            stream_id=self.stream_id,
            conversation_id=self.conversation_id,
            time=self.wall_clock(),
            direction=self.direction,
            action=applied(self.policy, would),
            would_action=would,
            reason=reason,
            failure=failure,
            identity=replace(self.identity, **said),
            tool=self.tool,
            tenant=self.tenant,
            **found,
        )

    def read_prompt(self, messages: Sequence[Message], reading: PromptReading) -> Steps[None]:
        """Judge the last turn, and add what is found to `reading`; see `Reader.prompt`."""
        return self.reader.prompt(self.tapes, self.policy, messages, reading)

    def read_answer(self, messages: Sequence[Message], *, is_call: bool = False) -> AnswerReader:
        """Return what reads one answer, or one tool call; see `Reader.answer`."""
        return self.reader.answer(self.tapes, self.policy, messages, is_call=is_call)

    @property
    def engine(self) -> Engine:
        """Runs the model."""
        return self.tapes.engine

    @property
    def trust(self) -> Trust:
        """How the policy's rule for the tool treats what is judged."""
        return trust_for(self.policy, self.direction, self.tool)


def identify(engine: Engine, policy: Policy) -> Identity:
    """Return who decides: a model by a policy."""
    info = engine.info
    return Identity(info.name, info.sha256, info.engine, info.precision, policy.name, policy.sha256)


def check_categories(policy: Policy, models: Iterable[ModelInfo]) -> None:
    """Refuse a policy with a rule or a message for a category that no model of the guard can name there.

    It could never apply. The published categories are always allowed: one policy serves models with and without them.

    Raises:
        PolicyError: it has one; the valid names are listed.
    """
    published = {category.value for category in Category}
    prompts, responses = set(published), set(published)
    for info in models:
        prompts |= {*info.prompt_labels.categories}
        responses |= {*info.response_labels.categories}
    for place, named, known in (
        ("prompt", {*policy.prompt.categories}, prompts),
        ("response", {*policy.response.categories}, responses),
        ("messages", policy.messages.keys() - STOP_TEXTS.keys(), prompts | responses),
    ):
        if unknown := named - known:
            raise PolicyError(f"{place}: unknown category {min(unknown)!r}; valid: {', '.join(sorted(known))}")


def explain(error: Exception) -> Failure:
    """Return the record of an exception; messages of ours hold no user text."""
    return Failure(type(error).__name__, str(error))
