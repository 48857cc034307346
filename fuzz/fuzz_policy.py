"""Policy files: any text is a PolicyError or a policy, and what a policy says is orderly."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fuzz.shaping import BRIEF, check_message, damaged, damaged_bytes, from_bytes
from guardrail.errors import PolicyError
from guardrail.policy import Policy, Reading
from guardrail.policy_file import parse_policy
from guardrail.taxonomy import PROMPT_LABELS, RESPONSE_LABELS, LabelSet, RiskLevel
from guardrail.verdict import Verdict

RULES: dict[str, Any] = {
    "controversial": "flag",
    "unsafe": "stop",
    "unsafe_threshold": 0.5,
    "non_safe_threshold": 0.25,
    "debounce": 1,
    "debounce_rule": "same_level",
    "categories": {"Violent": {"controversial": "allow", "unsafe": "flag", "threshold": 0.75}, "pii": {}, "own": {}},
}
TREE: dict[str, Any] = {
    "name": "near",
    "enforce": True,
    "release": "answer",
    "on_stop": "replace",
    "on_failure": "stop",
    "too_long": "slide",
    "max_held_chars": 9,
    "on_held": "flag",
    "unreadable": "allow",
    "judge_system": False,
    "max_repairs": 2,
    "language": "de",
    "custom_categories": ["own"],
    "messages": {"default": {"en": "No {category}."}, "tool_call": {"de": "Nein."}},
    "prompt": RULES,
    "response": {**RULES, "debounce": 2},
    "tools": {
        "default": {"call": "read", "result": "read"},
        "names": {"safe_*": {"call": "trusted", "result": "trusted"}, "pay?": {"call": "ask"}},
        "controversial": "ask",
        "on_result": "extract",
    },
    "cascade": {"low": 0.1, "high": 0.9, "grace_tokens": 8},
}
ALSO = ("allow", "flag", "ask", "stop", "token", "optimistic", "raise", "repair", "trusted", "Jailbreak", "threshold")


def toml(value: Any) -> str:
    """Return a value as TOML writes it, tables in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return quoted(value) if isinstance(value, str) else str(value)


def quoted(text: str) -> str:
    """Return a string as TOML writes it."""
    return '"' + "".join(c if c.isalnum() or c in " _.-*?{}" else f"\\U{ord(c):08x}" for c in text) + '"'


TEXTS = damaged(TREE, ALSO).map(
    lambda tree: "\n".join(f"{quoted(key)} = {toml(item)}" for key, item in tree.items()).encode("utf-8", "replace")
)


@BRIEF
@given(data=TEXTS.flatmap(damaged_bytes) | st.binary(max_size=200))
def holds(data: bytes) -> None:
    """A text is refused with a short PolicyError, or gives a policy whose readings and rules are in order."""
    try:
        policy = parse_policy(data.decode("utf-8", "replace"))
    except PolicyError as error:
        check_message(error)
        return
    assert len(policy.sha256) == 64
    for category in (None, "Violent", "own"):
        told = policy.stop_message, policy.call_message, policy.result_message, policy.repair_message
        assert all(isinstance(say(category), str) for say in told)
    policy.tools.rule("safe_name")
    check_order(policy)


def check_order(policy: Policy) -> None:
    """Strict never allows more than loose, and a riskier verdict is never treated more softly."""
    strict, loose = policy.read(Reading.STRICT), policy.read(Reading.LOOSE)
    for labels, direction in ((PROMPT_LABELS, "prompt"), (RESPONSE_LABELS, "response")):
        rules, by_strict, by_loose = (getattr(one, direction) for one in (policy, strict, loose))
        for i in range(2):
            ranks = []
            for shares in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)):
                verdict = verdict_of(labels, shares, i)
                ranks.append(rules.action(verdict).rank)
                assert by_strict.action(verdict).rank >= by_loose.action(verdict).rank
            assert ranks == sorted(ranks)


def verdict_of(labels: LabelSet, shares: tuple[float, float, float], category: int) -> Verdict:
    """Return a verdict with these probabilities of Safe, Controversial and Unsafe."""
    by_level = dict(zip(RiskLevel, shares, strict=True))
    risks = tuple(by_level[level] for level in labels.risks)
    return Verdict(labels, risks, tuple(float(i == category) for i in range(len(labels.categories))))


one_input = from_bytes(holds)
