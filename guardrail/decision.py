"""What the policy made of verdicts: the thing that is acted on and recorded."""

from dataclasses import dataclass
from enum import StrEnum

from guardrail.actions import Action
from guardrail.taxonomy import RiskLevel
from guardrail.verdict import TokenVerdict, Verdict


class Direction(StrEnum):
    """What was judged: text on its way to the model (prompts, tool results, documents), or text that it wrote."""

    PROMPT = "prompt"
    RESPONSE = "response"
    TOOL_CALL = "tool_call"
    TOOL_RESULT = "tool_result"
    DOCUMENT = "document"


class Reason(StrEnum):
    """Why a decision is what it is."""

    CLEAR = "clear"
    VERDICT = "verdict"
    FAILURE = "failure"
    TOO_LONG = "too_long"
    HELD = "held"
    UNREADABLE = "unreadable"
    ABANDONED = "abandoned"
    RULE = "rule"  # the policy's rule for a tool decided: trusted, or a person is always asked


INTERRUPTED = "the call was interrupted"
"""Message of the failure behind a decision whose caller went away: whatever the policy says, nothing passed."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure behind a decision; never looks like a verdict.

    Attributes:
        kind: name of the exception class.
        message: ids, offsets and lengths only; never user text.
    """

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Who decided.

    Attributes:
        model: name of the model.
        model_sha256: hash of its weights.
        engine: engine that ran it.
        precision: precision of the weights.
        policy: name of the policy.
        policy_sha256: hash of everything it says.
    """

    model: str
    model_sha256: str
    engine: str
    precision: str
    policy: str
    policy_sha256: str


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision about one prompt or one answer.

    Attributes:
        id: unique id of this decision.
        stream_id: id of the stream or check.
        conversation_id: the caller's id of the conversation; None when none was given.
        time: when it was made, seconds since the epoch (wall clock).
        direction: prompt or response.
        action: what was done.
        would_action: what the policy's rules ask for; differs from `action` only in shadow mode.
        reason: why.
        risk: risk level behind the decision; None when nothing could be judged.
        category: kind of harm at the decisive token; None when the risk is Safe.
        verdict: the decisive verdict with full probabilities; None when nothing could be judged.
        stop_offset: first character that was (in shadow: would have been) stopped, in Python str; None without a stop.
        released_chars: characters passed on.
        withheld_chars: characters never passed on.
        leaked_chars: characters passed on beyond a stop's offset; 0 in the holding modes.
        unjudged_chars: characters passed on without a verdict because a failure was let pass.
        n_tokens: content tokens judged (for a prompt: tokens read).
        n_windows: readings that were needed because of the model's context; 1 when all fitted at once.
        n_dropped_turns: old turns that did not fit and were not read as context.
        unreadable: kinds of parts that could not be read, such as "image_url".
        failure: what failed, if anything did.
        identity: model, engine and policy.
        latency_ms: time spent in the guard, milliseconds (monotonic clock).
        tokens: all token verdicts of a response, in order; empty for prompts.
        tool: name of the tool that is called or answered; None elsewhere.
        n_deltas: pieces in which the LLM's text came.
        saved_tokens: at most so many tokens the LLM would still have made after a stop: what was asked of it less the
            pieces that came; None without a stop, or where no bound was asked of it.
        n_repairs: earlier attempts at this answer that were stopped.
        n_repair_tokens: tokens of those attempts that were judged and never passed on.
        tenant: whose text it was; None where the caller named none.
        readings: all verdicts of a prompt, tool result or document, one a reading (a turn, or a window of a long one);
            empty for answers.
    """

    id: str
    stream_id: str
    conversation_id: str | None
    time: float
    direction: Direction
    action: Action
    would_action: Action
    reason: Reason
    risk: RiskLevel | None
    category: str | None
    verdict: Verdict | None
    stop_offset: int | None
    released_chars: int
    withheld_chars: int
    leaked_chars: int
    unjudged_chars: int
    n_tokens: int
    n_windows: int
    n_dropped_turns: int
    unreadable: tuple[str, ...]
    failure: Failure | None
    identity: Identity
    latency_ms: float
    tokens: tuple[TokenVerdict, ...] = ()
    tool: str | None = None
    n_deltas: int = 0
    saved_tokens: int | None = None
    n_repairs: int = 0
    n_repair_tokens: int = 0
    tenant: str | None = None
    readings: tuple[Verdict, ...] = ()

    @property
    def stopped(self) -> bool:
        """Whether the text was stopped."""
        return self.action is Action.STOP

    @property
    def flagged(self) -> bool:
        """Whether the text was let go but marked."""
        return self.action is Action.FLAG

    @property
    def asks(self) -> bool:
        """Whether a tool call waits for a person; who has nobody to ask treats it as stopped."""
        return self.action is Action.ASK
