"""What to do about verdicts: actions by direction, risk and category, thresholds, debounce, and what a failure means.

Pure functions over frozen dataclasses; files are read by `policy_file.py`. Strict and loose are readings of one
verdict: they change the action for Controversial, never the verdict.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Self

from guardrail.actions import Action, check_count, check_threshold, coerce
from guardrail.cascade_rules import CascadeRules
from guardrail.errors import PolicyError
from guardrail.normalise_rules import NormaliseRules
from guardrail.stop_texts import STOP_TEXTS
from guardrail.taxonomy import RiskLevel
from guardrail.tool_rules import ToolRules
from guardrail.verdict import Verdict


class Reading(StrEnum):
    """How Controversial counts: as unsafe (strict) or as safe (loose)."""

    STRICT = "strict"
    LOOSE = "loose"


class DebounceRule(StrEnum):
    """Which consecutive tokens form a run. Both were published for n = 2: any non-safe levels (the technical report),
    or tokens of the same level (the evaluation script; ours is its causal form: the first such run decides).
    """

    NON_SAFE = "non_safe"
    SAME_LEVEL = "same_level"


class ReleaseMode(StrEnum):
    """When text leaves: after its verdict, after the whole answer, or at once (stopped when the verdict comes)."""

    TOKEN = "token"  # noqa: S105 - a mode, not a secret
    ANSWER = "answer"
    OPTIMISTIC = "optimistic"


class OnStop(StrEnum):
    """What an adapter gives its caller at a stop: the released prefix, a message, ContentStopped, or what the LLM makes
    of another attempt behind the released prefix (where the adapter can ask it again; else, and at last, a message).
    """

    TRUNCATE = "truncate"
    REPLACE = "replace"
    RAISE = "raise"
    REPAIR = "repair"


class TooLong(StrEnum):
    """What happens to an answer that outgrows the model's context: fail closed, or read on in a sliding window."""

    STOP = "stop"
    SLIDE = "slide"


@dataclass(frozen=True, slots=True)
class CategoryRule:
    """Overrides for one category.

    Attributes:
        controversial: action at Controversial; None takes the direction's.
        unsafe: action at Unsafe; None takes the direction's.
        threshold: least probability of harm (Controversial + Unsafe), in [0, 1], below which the category is allowed.
    """

    controversial: Action | None = None
    unsafe: Action | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        coerce(self, optional=True, controversial=Action, unsafe=Action)
        check_threshold("threshold", self.threshold)


@dataclass(frozen=True, slots=True)
class Rules:
    """What to do in one direction (prompt or response).

    Attributes:
        controversial: action at Controversial; never harder than `unsafe`.
        unsafe: action at Unsafe.
        categories: overrides by canonical category name.
        unsafe_threshold: probability of Unsafe, in [0, 1], from which the level is Unsafe; None decides by argmax.
        non_safe_threshold: probability of Controversial + Unsafe from which the level is at least Controversial.
            If only one of the two is set, the other is 0.5; if neither, argmax decides, as published.
        debounce: consecutive tokens that must agree before the action is taken; prompts have one verdict and use 1.
        debounce_rule: which tokens agree.
    """

    controversial: Action = Action.STOP
    unsafe: Action = Action.STOP
    categories: Mapping[str, CategoryRule] = field(default_factory=dict)
    unsafe_threshold: float | None = None
    non_safe_threshold: float | None = None
    debounce: int = 1
    debounce_rule: DebounceRule = DebounceRule.NON_SAFE

    def __post_init__(self) -> None:
        coerce(self, controversial=Action, unsafe=Action, debounce_rule=DebounceRule)
        for name, rule in {"": CategoryRule(), **self.categories}.items():
            controversial, unsafe = rule.controversial or self.controversial, rule.unsafe or self.unsafe
            if controversial.rank > unsafe.rank:
                where = f"category {name!r}" if name else "the direction"
                raise PolicyError(f"{where}: controversial = {controversial} is harder than unsafe = {unsafe}")
        check_threshold("unsafe_threshold", self.unsafe_threshold)
        check_threshold("non_safe_threshold", self.non_safe_threshold)
        check_count("debounce", self.debounce)

    def level(self, verdict: Verdict) -> RiskLevel:
        """Return the risk level under these thresholds."""
        if self.unsafe_threshold is None and self.non_safe_threshold is None:
            return verdict.risk
        if verdict.probability(RiskLevel.UNSAFE) >= self.from_unsafe:
            return RiskLevel.UNSAFE
        return RiskLevel.CONTROVERSIAL if verdict.non_safe_probability >= self.from_non_safe else RiskLevel.SAFE

    @property
    def from_unsafe(self) -> float:
        """Probability of Unsafe from which the level is Unsafe, where thresholds decide."""
        return 0.5 if self.unsafe_threshold is None else self.unsafe_threshold

    @property
    def from_non_safe(self) -> float:
        """Probability of harm of any kind from which the level is at least Controversial, where thresholds decide."""
        return 0.5 if self.non_safe_threshold is None else self.non_safe_threshold

    def action(self, verdict: Verdict) -> Action:
        """Return the action that one verdict asks for, before debounce."""
        level = self.level(verdict)
        if level is RiskLevel.SAFE:
            return Action.ALLOW
        threshold = self.rule(verdict.top_category).threshold
        if threshold is not None and verdict.non_safe_probability < threshold:
            return Action.ALLOW
        return self.asked(verdict.top_category, level)

    def rule(self, category: str) -> CategoryRule:
        """Return what is overridden for a category."""
        return self.categories.get(category, _NO_RULE)

    def asked(self, category: str, level: RiskLevel) -> Action:
        """Return the action at a level that is not Safe, whatever the category's own threshold."""
        rule = self.rule(category)
        if level is RiskLevel.UNSAFE:
            return rule.unsafe or self.unsafe
        return rule.controversial or self.controversial

    def read(self, reading: Reading) -> Self:
        """Return these rules with Controversial read strictly (as Unsafe) or loosely (as Safe)."""
        strict = reading is Reading.STRICT
        categories = {
            name: replace(rule, controversial=rule.unsafe if strict else Action.ALLOW)
            for name, rule in self.categories.items()
        }
        return replace(self, controversial=self.unsafe if strict else Action.ALLOW, categories=categories)


_NO_RULE = CategoryRule()


@dataclass(frozen=True, slots=True)
class Policy:
    """What to do about verdicts, whole; the defaults are those of the ready policy `balanced`.

    Attributes:
        name: shown in records, beside the hash.
        prompt: rules for user turns and tool results.
        response: rules for the assistant's text, token by token.
        enforce: False judges and records but never stops (shadow).
        release: when text leaves.
        on_stop: what adapters give at a stop.
        on_failure: action when the engine fails; stop is fail closed.
        too_long: what happens to an answer beyond the model's context.
        max_held_chars: most characters received but not yet readable (an endless word) after a call; None sets no
            bound. It is the one rule that depends on how the text was cut: a word that arrives whole is not held.
        on_held: stop or flag when that bound is passed; unread text is never released.
        unreadable: action for parts that cannot be read, such as images.
        judge_system: whether system prompts are judged as prompts too.
        tools: rules for tool calls and tool results.
        cascade: when a guard of two models asks the second one.
        normalise: which texts are also read with their disguises undone.
        max_repairs: most further attempts at one answer under `on_stop = "repair"`.
        language: language of the messages.
        messages: stop messages: category name or "default" -> language -> text; "tool_call", "tool_result" and "repair"
            are what the LLM is told of a refused call, of a withheld result, and before another attempt.
    """

    name: str = "balanced"
    prompt: Rules = Rules(controversial=Action.FLAG)
    response: Rules = Rules(debounce=2)
    enforce: bool = True
    release: ReleaseMode = ReleaseMode.TOKEN
    on_stop: OnStop = OnStop.TRUNCATE
    on_failure: Action = Action.STOP
    too_long: TooLong = TooLong.SLIDE
    max_held_chars: int | None = None
    on_held: Action = Action.STOP
    unreadable: Action = Action.FLAG
    judge_system: bool = False
    tools: ToolRules = field(default_factory=ToolRules)
    cascade: CascadeRules = field(default_factory=CascadeRules)
    normalise: NormaliseRules = field(default_factory=NormaliseRules)
    max_repairs: int = 2
    language: str = "en"
    messages: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("enforce", "judge_system"):
            if not isinstance(getattr(self, name), bool):
                raise PolicyError(f"{name} = {getattr(self, name)!r} is neither true nor false")
        coerce(self, release=ReleaseMode, on_stop=OnStop, on_failure=Action, too_long=TooLong)
        coerce(self, on_held=Action, unreadable=Action)
        if self.prompt.debounce != 1:
            raise PolicyError("prompt: a prompt has a single verdict, so debounce must be 1")
        if self.max_held_chars is not None:
            check_count("max_held_chars", self.max_held_chars)
        check_count("max_repairs", self.max_repairs)
        if self.on_held is Action.ALLOW:
            raise PolicyError("on_held must be flag or stop: unread text is never released")
        for name in ("on_failure", "on_held", "unreadable"):
            _refuse_ask(name, getattr(self, name))
        for name, rules in (("prompt", self.prompt), ("response", self.response)):
            overrides = (action for rule in rules.categories.values() for action in (rule.controversial, rule.unsafe))
            _refuse_ask(name, rules.controversial, rules.unsafe, *overrides)
        self.call_rules()

    @property
    def sha256(self) -> str:
        """Hash of everything the policy says; part of every record."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def read(self, reading: Reading) -> Self:
        """Return this policy with Controversial read strictly or loosely in both directions."""
        return replace(self, prompt=self.prompt.read(reading), response=self.response.read(reading))

    def call_rules(self) -> Rules:
        """Return the rules for tool calls: those of answers, with the tools' action at Controversial.

        A category's own action at Controversial stays only where it is harder: it was written for answers.
        """
        controversial, rules = self.tools.controversial, self.response
        if controversial is None:
            return rules
        categories = dict(rules.categories)
        for name, rule in categories.items():
            if rule.controversial:
                hardest = max(rule.controversial, controversial, key=lambda action: action.rank)
                bound = min(hardest, rule.unsafe or rules.unsafe, key=lambda action: action.rank)
                categories[name] = replace(rule, controversial=bound)
        return replace(rules, controversial=controversial, categories=categories)

    def stop_message(self, category: str | None) -> str:
        """Return the text to show at a stop: the category's in the policy's language, its default, or English."""
        return self._text(category or "", "default")

    def call_message(self, category: str | None) -> str:
        """Return what the LLM is told of a tool call that was not run."""
        return _about(self._text("tool_call"), category)

    def result_message(self, category: str | None) -> str:
        """Return what the LLM is told of a tool result that was withheld."""
        return _about(self._text("tool_result"), category)

    def repair_message(self, category: str | None) -> str:
        """Return the instruction that the LLM gets before another attempt."""
        return _about(self._text("repair"), category)

    def _text(self, *keys: str) -> str:
        tables = [table.get(key) for table in (self.messages, STOP_TEXTS) for key in keys]
        for texts in tables:
            for language in (self.language, "en"):
                if texts and language in texts:
                    return texts[language]
        return STOP_TEXTS[keys[-1]]["en"]


def _refuse_ask(name: str, *actions: Action | None) -> None:
    if Action.ASK in actions:
        raise PolicyError(f"{name}: only tool calls can wait for a person; set it under [tools]")


def _about(text: str, category: str | None) -> str:
    return text.replace("{category}", category or "unsafe content")
