# ruff: noqa: ARG002 - signatures are the framework's
"""Guardrails AI: a validator of one's own on a streamed answer; the default unit is a sentence."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from guardrails import Guard
from guardrails.validators import FailResult, PassResult, ValidationResult, Validator, register_validator


@register_validator(name="peers/word", data_type="string")
class Word(Validator):
    """Asks the rule."""

    def __init__(self, rule: Any, on_fail: str) -> None:
        """Take the rule."""
        super().__init__(on_fail=on_fail)
        self._rule = rule

    def validate(self, value: Any, metadata: dict[str, Any]) -> ValidationResult:
        """Judge a unit; the fix takes it out."""
        if self._rule.forbids(value):
            return FailResult(error_message="forbidden", fix_value="")
        return PassResult()


async def exception(llm: Any, rule: Any) -> AsyncIterator[str]:
    """`on_fail="exception"`, the default."""
    for piece in _shown(llm, Word(rule, "exception")):
        yield piece


async def fix(llm: Any, rule: Any) -> AsyncIterator[str]:
    """`on_fail="fix"`."""
    for piece in _shown(llm, Word(rule, "fix")):
        yield piece


async def noop(llm: Any, rule: Any) -> AsyncIterator[str]:
    """`on_fail="noop"`: it only tells."""
    for piece in _shown(llm, Word(rule, "noop")):
        yield piece


def _shown(llm: Any, validator: Word) -> Iterator[str]:
    def ask(*, messages: Any, **_: Any) -> Iterator[str]:  # noqa: ARG001 - the name is asked for
        return iter(llm)

    guard = Guard().use(validator)
    messages = [{"role": "user", "content": "How do I bake bread?"}]
    for outcome in guard(ask, messages=messages, stream=True):
        yield outcome.validated_output or ""
