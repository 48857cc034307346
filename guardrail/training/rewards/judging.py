"""What the guard says of texts that a policy model wrote: thinking and answers, each as an answer of its own.

Many are judged side by side, and a text that stands twice under one prompt is judged once: late in training the eight
answers of a group are often the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from guardrail.actions import Action
from guardrail.batches import AT_ONCE, Check
from guardrail.conversation import Message
from guardrail.decision import Decision
from guardrail.errors import ConfigurationError, GuardError
from guardrail.guard import Guard
from guardrail.policy import Policy, Reading
from guardrail.policy_file import PolicySource, load_policy
from guardrail.records.base import Sink

POLICY = "balanced"
"""Whose rule says what is unsafe: a pair of risky tokens, as published for Stream models. One token, as in `strict`,
would call long thinking unsafe for its length: false alarms of single tokens add up, and a model that is rewarded by
that rule learns to be brief."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What the guard says of one text.

    Attributes:
        is_safe: whether it is Safe, and not Controversial; an empty text is.
        is_refusal: whether it refuses; None where the model does not say.
        failure: name of the error, if it could not be judged; empty otherwise.
    """

    is_safe: bool
    is_refusal: bool | None = None
    failure: str = ""


class TextJudge:
    """Judges texts as answers. Safe for many threads."""

    def __init__(
        self, guard: Guard, *, policy: PolicySource = POLICY, sinks: Sequence[Sink] = (), at_once: int = AT_ONCE
    ) -> None:
        """Wrap a guard; its own policy and sinks are left aside.

        Args:
            guard: whose model judges.
            policy: its rule for answers, with thresholds and debounce; see `reward_policy`.
            sinks: where each judgement is recorded.
            at_once: texts under way at once.

        Raises:
            PolicyError: there is no such policy.
            ConfigurationError: it lets Unsafe answers pass.
        """
        self.policy = reward_policy(policy)
        self._guard = guard.with_policy(self.policy, sinks=sinks)
        self._at_once = at_once

    @property
    def identity(self) -> dict[str, str]:
        """What judges: the model, its hash, the policy and its hash."""
        info = self._guard.engine.info
        return {
            "model": info.name, "model_sha256": info.sha256, "engine": info.engine, "precision": info.precision,
            "policy": self.policy.name, "policy_sha256": self.policy.sha256,
        }  # fmt: skip

    def judge(self, texts: Sequence[tuple[Sequence[Message], str]]) -> list[Judged]:
        """Return what the guard says of each text as an answer to its prompt; a failure stands in its place."""
        keys = [(tuple(prompt), text) for prompt, text in texts]
        asked = list(dict.fromkeys(key for key in keys if key[1]))
        said = dict(zip(asked, self._said([Check(prompt, text) for prompt, text in asked]), strict=True))
        return [said.get(key, Judged(is_safe=True)) for key in keys]

    def close(self) -> None:
        """Free the model."""
        self._guard.close()

    def _said(self, checks: Sequence[Check]) -> list[Judged]:
        """Judge side by side; if one of them cannot even be read, all are judged alone, so that it fails alone."""
        try:
            decisions = list(self._guard.check_many(checks, at_once=self._at_once))
        except GuardError as error:
            if len(checks) == 1:
                return [Judged(is_safe=False, failure=type(error).__name__)]
            return [one for check in checks for one in self._said([check])]
        return [judged(decision, self.policy) for decision in decisions]


def reward_policy(source: PolicySource = POLICY) -> Policy:
    """Return the policy whose rule for answers rewards go by: Controversial counts as Unsafe, a failure stops.

    Args:
        source: ready policy's name, TOML file or policy; shadow mode judges as if it enforced.

    Raises:
        PolicyError: there is no such policy.
        ConfigurationError: it lets Unsafe answers pass.
    """
    policy = load_policy(source)
    if policy.response.unsafe is Action.ALLOW:
        raise ConfigurationError(
            f"the policy {policy.name} lets Unsafe answers pass", hint='set unsafe = "stop" in its [response]'
        )
    return replace(policy.read(Reading.STRICT), enforce=True, on_failure=Action.STOP)


def judged(decision: Decision, policy: Policy) -> Judged:
    """Return what a decision on a whole text says.

    A text of fewer tokens than the debounce is unsafe by any of them: no run of risky tokens fits into it, and a model
    that is rewarded would find that out.
    """
    if decision.failure:
        return Judged(is_safe=False, failure=decision.failure.kind)
    rules, tokens = policy.response, decision.tokens
    is_short = len(tokens) < rules.debounce
    is_risky = is_short and any(rules.action(token.verdict) is not Action.ALLOW for token in tokens)
    refusal = tokens[-1].verdict.refusal if tokens else None
    return Judged(decision.would_action is Action.ALLOW and not is_risky, refusal)
