"""What judges say about rows: the guard itself, token by token, under a policy. Baselines speak the same protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from guardrail.actions import Action
from guardrail.decision import Direction
from guardrail.evaluation.rows import Row
from guardrail.gate import Finding, Gate
from guardrail.guard import Guard
from guardrail.policy import Policy, Reading, Rules
from guardrail.taxonomy import RiskLevel
from guardrail.verdict import TokenVerdict, Verdict


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge says about one row.

    Attributes:
        action: what the policy does with the text.
        level: risk level as the policy's rules read the verdicts, debounce included: Unsafe if the loose reading acts,
            else Controversial if the strict one does, else Safe.
        score: probability of harm in [0, 1], the threshold at which the policy would begin to act; higher is riskier.
        category: kind of harm that was named; None when Safe, or when the judge knows none.
        onset_token: index of the first token that reaches the labelled onset; None without such a label.
        stop_token: index of the token whose verdict stops the answer; None when it is not stopped.
        failure: name of the error, when the row could not be judged.
    """

    action: Action
    level: RiskLevel
    score: float
    category: str | None = None
    onset_token: int | None = None
    stop_token: int | None = None
    failure: str | None = None


def failed(error: Exception) -> Judgement:
    """Return the judgement of a row that could not be judged: fail closed, so it counts as the gravest."""
    return Judgement(Action.STOP, RiskLevel.UNSAFE, 1.0, failure=type(error).__name__)


class Judge(Protocol):
    """Judges rows.

    Attributes:
        name: shown in tables.
        identity: what ran, for the record: model, hashes, settings.
        batch_size: rows it likes to get at once; 1 when it takes them one by one.
    """

    name: str
    identity: dict[str, str]
    batch_size: int

    def judge(self, rows: Sequence[Row]) -> list[Judgement]:
        """Return one judgement a row, in order.

        Raises:
            EngineError: at least one of the rows could not be judged.
            ConversationError: one of them cannot be rendered.
        """
        ...


class GuardJudge:
    """The guard: the model runs once a row, its policy is applied to the verdicts. Safe for many threads."""

    batch_size = 1

    def __init__(self, guard: Guard, *, name: str = "") -> None:
        """Wrap a guard; without a name it is called like its engine."""
        info, policy = guard.engine.info, guard.policy
        self.name = name or info.engine
        self.identity = {
            "model": info.name, "model_sha256": info.sha256, "engine": info.engine, "precision": info.precision,
            "policy": policy.name, "policy_sha256": policy.sha256,
        }  # fmt: skip
        self._guard = guard

    def judge(self, rows: Sequence[Row]) -> list[Judgement]:
        """Judge the rows one by one; see `Judge.judge`."""
        return [self._judge(row) for row in rows]

    def _judge(self, row: Row) -> Judgement:
        policy = self._guard.policy
        if row.target is Direction.PROMPT:
            return judge_verdict(self._guard.judge_prompt(row.messages), policy.prompt)
        text = row.messages[-1].content
        tokens = self._guard.judge_response(row.messages[:-1], text)
        return judge_tokens(tokens, policy, row.unsafe_start_char)


def judge_verdict(verdict: Verdict, rules: Rules) -> Judgement:
    """Apply rules to the single verdict on a whole text."""
    acts = {reading: rules.read(reading).action(verdict) is not Action.ALLOW for reading in Reading}
    level = _level(acts[Reading.STRICT], acts[Reading.LOOSE])
    category = None if level is RiskLevel.SAFE else verdict.top_category
    return Judgement(rules.action(verdict), level, verdict.non_safe_probability, category)


def judge_tokens(tokens: Sequence[TokenVerdict], policy: Policy, onset: int | None = None) -> Judgement:
    """Apply a policy to the verdicts on an answer, by the gate that streams pass through.

    Args:
        tokens: verdicts in order.
        policy: its rules for responses count; shadow mode judges as if it enforced.
        onset: first risky character by the label, if known.
    """
    findings = {reading: _finding(tokens, policy.read(reading)) for reading in Reading}
    strict, found = findings[Reading.STRICT], _finding(tokens, policy)
    stop = found.token.index if found and found.action is Action.STOP else None
    return Judgement(
        action=found.action if found else Action.ALLOW,
        level=_level(strict is not None, findings[Reading.LOOSE] is not None),
        score=response_score([token.verdict.non_safe_probability for token in tokens], policy.response.debounce),
        category=strict.category if strict else None,
        onset_token=next((t.index for t in tokens if t.end > onset), None) if onset is not None else None,
        stop_token=stop,
    )


def response_score(harm: Sequence[float], debounce: int) -> float:
    """Return the highest threshold at which `debounce` tokens in a row would still all count as non-safe.

    Args:
        harm: probability of Controversial + Unsafe at each token, in [0, 1].
        debounce: tokens that must agree. An answer of fewer tokens is never stopped, and scores 0.
    """
    runs = (min(harm[i : i + debounce]) for i in range(len(harm) - debounce + 1))
    return max(runs, default=0.0)


def _finding(tokens: Sequence[TokenVerdict], policy: Policy) -> Finding | None:
    gate = Gate(policy)
    for token in tokens:
        gate.judge(token)
    found = gate.finding
    return found if found and found.action is not Action.ALLOW else None


def _level(strict: bool, loose: bool) -> RiskLevel:
    if loose:
        return RiskLevel.UNSAFE
    return RiskLevel.CONTROVERSIAL if strict else RiskLevel.SAFE
