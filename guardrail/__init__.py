"""Token-level moderation of prompts and streamed answers with Qwen3Guard-Stream models, on a CPU, without torch.

from guardrail import Guard

guard = Guard.default()
decision = guard.check_prompt("How do I bake bread?")
"""

from guardrail.actions import Action
from guardrail.batches import Check
from guardrail.cascade_rules import CascadeRules
from guardrail.conversation import Message, Role, ToolCall
from guardrail.decision import Decision, Direction, Failure, Identity, Reason
from guardrail.encoding import GuardTokenizer
from guardrail.engines.runtime import Runtime
from guardrail.errors import (
    CheckpointError,
    ConfigurationError,
    ContentStopped,
    ContextOverflow,
    ConversationError,
    EngineError,
    EngineOverloaded,
    EngineTimeout,
    GuardError,
    InvalidLogits,
    MissingExtra,
    PolicyError,
    RecordError,
    StreamClosed,
    StreamError,
    UnparsableVerdict,
)
from guardrail.guard import Guard
from guardrail.normalise_rules import NormaliseRules
from guardrail.policy import OnStop, Policy, Reading, ReleaseMode, Rules
from guardrail.policy_file import load_policy
from guardrail.repair import Attempt, next_attempt
from guardrail.screening import Screened
from guardrail.stream import Stream
from guardrail.taxonomy import Category, RiskLevel
from guardrail.tool_calls import ToolCallStream
from guardrail.tool_rules import OnResult, ToolRule, ToolRules, Trust
from guardrail.verdict import TokenVerdict, Verdict

__all__ = [
    "Action",
    "Attempt",
    "CascadeRules",
    "Category",
    "Check",
    "CheckpointError",
    "ConfigurationError",
    "ContentStopped",
    "ContextOverflow",
    "ConversationError",
    "Decision",
    "Direction",
    "EngineError",
    "EngineOverloaded",
    "EngineTimeout",
    "Failure",
    "Guard",
    "GuardError",
    "GuardTokenizer",
    "Identity",
    "InvalidLogits",
    "Message",
    "MissingExtra",
    "NormaliseRules",
    "OnResult",
    "OnStop",
    "Policy",
    "PolicyError",
    "Reading",
    "Reason",
    "RecordError",
    "ReleaseMode",
    "RiskLevel",
    "Role",
    "Rules",
    "Runtime",
    "Screened",
    "Stream",
    "StreamClosed",
    "StreamError",
    "TokenVerdict",
    "ToolCall",
    "ToolCallStream",
    "ToolRule",
    "ToolRules",
    "Trust",
    "UnparsableVerdict",
    "Verdict",
    "load_policy",
    "next_attempt",
]
