"""What judges say about rows: the guard itself, token by token, under a policy. Baselines speak the same protocol."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol

from guardrail.actions import Action
from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.evaluation.rows import Row
from guardrail.evaluation.spans import Spoken, risky_span
from guardrail.gate import Finding, Gate
from guardrail.guard import Guard
from guardrail.policy import Policy, Reading, Rules
from guardrail.taxonomy import RiskLevel
from guardrail.verdict import TokenVerdict, Verdict

RISKS = (RiskLevel.SAFE, RiskLevel.CONTROVERSIAL, RiskLevel.UNSAFE)
"""Order of `Judgement.probabilities`."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What a judge that reads an answer token by token saw along it.

    Attributes:
        levels: rank of the most probable risk level at each token (0 Safe, 1 Controversial, 2 Unsafe), whatever the
            policy, so that the published rule can be applied to them.
        whole: level at the last token, which has read the whole answer, as the policy's rules read it.
        n_chars: characters of the answer.
        released_chars: characters that the policy's gate releases if the text comes token by token, each with its
            verdict; all without a stop.
        onset_char: first risky character by the label; None without one.
        end_token: index of the last token of the labelled risky span; None where only its beginning is known.
    """

    levels: bytes
    whole: RiskLevel
    n_chars: int
    released_chars: int
    onset_char: int | None = None
    end_token: int | None = None


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
        refusal: whether the judge says that the answer refuses; None when it does not say.
        probabilities: of Safe, Controversial and Unsafe, in [0, 1], of the verdict that the score rests on; None when
            the judge gives none.
        trace: what was seen along an answer; None of prompts and of judges that read no tokens.
    """

    action: Action
    level: RiskLevel
    score: float
    category: str | None = None
    onset_token: int | None = None
    stop_token: int | None = None
    failure: str | None = None
    refusal: bool | None = None
    probabilities: tuple[float, float, float] | None = None
    trace: Trace | None = None


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
        info = guard.engine.info
        self.name = name or info.engine
        self._model = {
            "model": info.name, "model_sha256": info.sha256, "engine": info.engine, "precision": info.precision
        }  # fmt: skip
        self.identity = self.identity_under(guard.policy)
        self._guard = guard

    def identity_under(self, policy: Policy) -> dict[str, str]:
        """Return what ran, with the policy that was applied to its verdicts."""
        return {**self._model, "policy": policy.name, "policy_sha256": policy.sha256}

    def judge(self, rows: Sequence[Row]) -> list[Judgement]:
        """Judge the rows one by one; see `Judge.judge`."""
        return [self.judge_under(row, (self._guard.policy,))[0] for row in rows]

    def judge_under(self, row: Row, policies: Sequence[Policy]) -> list[Judgement]:
        """Return one judgement a policy, of verdicts that the model is asked for once.

        Raises:
            ConfigurationError: a policy would have the model read other texts than the guard's own does.
            EngineError: the row could not be judged.
            ConversationError: it cannot be rendered.
        """
        for policy in policies:
            check_reads_alike(self._guard.policy, policy)
        if row.target is Direction.PROMPT:
            verdict = self._guard.judge_prompt(row.messages)
            return [judge_verdict(verdict, policy.prompt) for policy in policies]
        spoken = Spoken.of(row.messages[-1].content)
        tokens = self._guard.judge_response(row.messages[:-1], spoken.text, reasoning=spoken.reasoning)
        span = risky_span(row, self._guard.reader)
        return [judge_tokens(tokens, policy, *span) for policy in policies]


def check_reads_alike(one: Policy, other: Policy) -> None:
    """Pass if both policies have the model read the same texts.

    Raises:
        ConfigurationError: they do not.
    """
    if (one.normalise, one.cascade) != (other.normalise, other.cascade):
        raise ConfigurationError(
            f"the policies {one.name} and {other.name} read different texts (normalise, cascade)",
            hint="measure them one after the other",
        )


def judge_verdict(verdict: Verdict, rules: Rules) -> Judgement:
    """Apply rules to the single verdict on a whole text."""
    level = _level_of(verdict, rules)
    category = None if level is RiskLevel.SAFE else verdict.top_category
    return Judgement(
        rules.action(verdict), level, verdict.non_safe_probability, category,
        refusal=verdict.refusal, probabilities=_probabilities(verdict),
    )  # fmt: skip


def judge_tokens(
    tokens: Sequence[TokenVerdict], policy: Policy, onset: int | None = None, end: int | None = None
) -> Judgement:
    """Apply a policy to the verdicts on an answer, by the gate that streams pass through.

    Args:
        tokens: verdicts in order.
        policy: its rules for responses count; shadow mode judges as if it enforced.
        onset: first risky character by the label, if known.
        end: one past the last character of the labelled risky span, if known.
    """
    findings = {reading: _gated(tokens, policy.read(reading)).finding for reading in Reading}
    gate = _gated(tokens, replace(policy, enforce=True))
    strict, found = (_acting(one) for one in (findings[Reading.STRICT], gate.finding))
    decisive = decisive_token(tokens, policy.response.debounce)
    return Judgement(
        action=found.action if found else Action.ALLOW,
        level=_level(strict is not None, _acting(findings[Reading.LOOSE]) is not None),
        score=decisive.verdict.non_safe_probability if decisive else 0.0,
        category=strict.category if strict else None,
        onset_token=next((t.index for t in tokens if t.end > onset), None) if onset is not None else None,
        stop_token=found.token.index if found and found.action is Action.STOP else None,
        refusal=tokens[-1].verdict.refusal if tokens else None,
        probabilities=_probabilities(decisive.verdict) if decisive else None,
        trace=_trace(tokens, policy, gate, onset, end),
    )


def decisive_token(tokens: Sequence[TokenVerdict], debounce: int) -> TokenVerdict | None:
    """Return the token whose probability of harm is the answer's score, the highest threshold at which the policy would
    still act: the least risky of the riskiest run.

    Args:
        tokens: verdicts in order.
        debounce: tokens that must agree; a verdict on the whole text so far is as good as a run. None where there is
            neither: an answer of fewer tokens is never stopped.
    """
    runs = (
        min(tokens[i : i + debounce], key=lambda token: token.verdict.non_safe_probability)
        for i in range(len(tokens) - debounce + 1)
    )
    whole = (token for token in tokens if token.is_whole)
    return max(chain(runs, whole), key=lambda token: token.verdict.non_safe_probability, default=None)


def _gated(tokens: Sequence[TokenVerdict], policy: Policy) -> Gate:
    """Return the gate behind an answer whose text came token by token; which characters they were is nothing to it."""
    gate = Gate(policy)
    for token in tokens:
        gate.feed(" " * (token.end - gate.fed_chars))
        gate.judge(token)
    gate.finish()
    return gate


def _acting(found: Finding | None) -> Finding | None:
    return found if found and found.action is not Action.ALLOW else None


def _trace(
    tokens: Sequence[TokenVerdict], policy: Policy, gate: Gate, onset: int | None, end: int | None
) -> Trace | None:
    if not tokens or any(token.is_whole for token in tokens):
        return None
    return Trace(
        levels=bytes(token.risk.rank for token in tokens),
        whole=_level_of(tokens[-1].verdict, policy.response),
        n_chars=gate.fed_chars,
        released_chars=gate.released_chars,
        onset_char=onset,
        end_token=None if onset is None or end is None else max((t.index for t in tokens if t.start < end), default=0),
    )


def _probabilities(verdict: Verdict) -> tuple[float, float, float]:
    safe, controversial, unsafe = (verdict.probability(level) for level in RISKS)
    return safe, controversial, unsafe


def _level_of(verdict: Verdict, rules: Rules) -> RiskLevel:
    acts = {reading: rules.read(reading).action(verdict) is not Action.ALLOW for reading in Reading}
    return _level(acts[Reading.STRICT], acts[Reading.LOOSE])


def _level(strict: bool, loose: bool) -> RiskLevel:
    if loose:
        return RiskLevel.UNSAFE
    return RiskLevel.CONTROVERSIAL if strict else RiskLevel.SAFE
