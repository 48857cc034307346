"""The guardrail's own parameters in the gateway's config.yaml, and the guard that they describe."""

from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from inspect import signature
from typing import Any, ClassVar, Self

from litellm.integrations.custom_guardrail import CustomGuardrail
from litellm.types.guardrails import LitellmParams
from pydantic import BaseModel, ConfigDict, ValidationError

from guardrail.errors import ConfigurationError
from guardrail.guard import Guard
from guardrail.records import open_sink


class Settings(BaseModel):
    """Parameters of `litellm_params`.

    Attributes:
        model: hub id or folder; None is the embedded model.
        policy: ready policy's name, or TOML file.
        threads: threads of one engine call.
        precision: "int8" or "fp32".
        records: JSONL file for the decisions.
        guard: `module:function` that returns a Guard, in the place of all the others but `policy`.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    model: str | None = None
    policy: str | None = None
    threads: int | None = None
    precision: str | None = None
    records: str | None = None
    guard: str | None = None

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> tuple[Self, dict[str, Any]]:
        """Return the settings, and what LiteLLM's own class takes.

        LiteLLM hands over the parameters of all its guardrails, most at their defaults: those are dropped.

        Raises:
            ConfigurationError: a parameter is unknown, has an impossible value, or means nothing here.
        """
        base = {name: value for name, value in given.items() if name in _BASE and name not in cls.model_fields}
        mine = {name: value for name, value in given.items() if name not in _BASE and not _is_default(name, value)}
        try:
            settings = cls(**mine)
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigurationError(
                f"litellm_params.{first['loc'][0]}: {_explain(first)}",
                hint=f"valid: {', '.join(cls.model_fields)}, and LiteLLM's own",
            ) from None  # the original shows the values
        others = settings.model_fields_set - {"guard", "policy"}
        if settings.guard and others:
            raise ConfigurationError(f"litellm_params.{min(others)}: `guard` makes the guard by itself")
        return settings, base

    def make_guard(self) -> Guard:
        """Return the guard; guards with the same model share it.

        Raises:
            ConfigurationError: the guard cannot be made.
        """
        if self.guard:
            guard = _call(self.guard)
            return guard.with_policy(self.policy) if self.policy else guard
        sinks = [open_sink(self.records)] if self.records else []
        loaded = _load(self.model, self.threads, self.precision)
        return loaded.with_policy(self.policy or "balanced", sinks=sinks)


_BASE = frozenset(signature(CustomGuardrail.__init__).parameters) - {"self", "kwargs"}
"""What LiteLLM's own class takes."""


@lru_cache
def _load(model: str | None, threads: int | None, precision: str | None) -> Guard:
    if model is None and precision is not None:
        raise ConfigurationError(
            "litellm_params.precision: the embedded model has one precision", hint="leave it unset"
        )
    if model is None:
        return Guard.default(threads=threads)
    return Guard.load(model, threads=threads, precision=precision)


def _call(path: str) -> Guard:
    """Return what the function at an import path makes."""
    module, _, name = path.partition(":")
    try:
        make = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"litellm_params.guard: no function at {path!r}", hint="module:function") from error
    made = make()
    if not isinstance(made, Guard):
        raise ConfigurationError(f"litellm_params.guard: {path} returned {type(made).__name__}, not a Guard")
    return made


def _is_default(name: str, value: Any) -> bool:
    """Whether this is one of the many parameters of other guardrails, at its default."""
    field = LitellmParams.model_fields.get(name)
    if field is None or name in Settings.model_fields:
        return False
    return bool(field.get_default(call_default_factory=True) == value)


def _explain(error: Any) -> str:
    return "unknown" if error["type"] == "extra_forbidden" else error["msg"]
