"""Policies from TOML: unknown keys and impossible values are refused, and the error names the valid ones."""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, ValidationError

from guardrail.actions import Action
from guardrail.cascade_rules import CascadeRules
from guardrail.errors import PolicyError
from guardrail.normalise_rules import NormaliseRules
from guardrail.policy import CategoryRule, DebounceRule, OnStop, Policy, ReleaseMode, Rules, TooLong
from guardrail.stop_texts import STOP_TEXTS
from guardrail.taxonomy import Category, category_name
from guardrail.tool_rules import OnResult, ToolRule, ToolRules, Trust

PolicySource = str | Path | Policy
"""A ready policy's name, a TOML file, or a policy."""

READY_POLICIES = ("strict", "balanced", "loose", "shadow")
"""Names of the policies that are shipped, as documented TOML files."""

_PUBLISHED = frozenset(category.value for category in Category)

V = TypeVar("V")


class _Strict(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


class _CategoryFile(_Strict):
    controversial: Action | None = None
    unsafe: Action | None = None
    threshold: StrictFloat | None = Field(None, ge=0, le=1)


class _RulesFile(_Strict):
    controversial: Action
    unsafe: Action
    unsafe_threshold: StrictFloat | None = Field(None, ge=0, le=1)
    non_safe_threshold: StrictFloat | None = Field(None, ge=0, le=1)
    debounce: StrictInt = Field(1, ge=1)
    debounce_rule: DebounceRule = DebounceRule.NON_SAFE
    categories: dict[str, _CategoryFile] = {}


class _ToolRuleFile(_Strict):
    call: Trust = Trust.READ
    result: Trust = Trust.READ


class _ToolsFile(_Strict):
    default: _ToolRuleFile = _ToolRuleFile()
    names: dict[str, _ToolRuleFile] = {}
    controversial: Action | None = None
    on_result: OnResult = OnResult.WITHHOLD


_CASCADE = CascadeRules()


class _CascadeFile(_Strict):
    low: StrictFloat = Field(default=_CASCADE.low, ge=0, le=1)
    high: StrictFloat = Field(default=_CASCADE.high, ge=0, le=1)
    grace_tokens: StrictInt = Field(default=_CASCADE.grace_tokens, ge=0)


class _NormaliseFile(_Strict):
    prompts: StrictBool = False
    answers: StrictBool = False


class _PolicyFile(_Strict):
    name: str = Field(min_length=1)
    enforce: StrictBool = True
    release: ReleaseMode = ReleaseMode.TOKEN
    on_stop: OnStop = OnStop.TRUNCATE
    on_failure: Action = Action.STOP
    too_long: TooLong = TooLong.SLIDE
    max_held_chars: StrictInt | None = Field(None, ge=1)
    on_held: Action = Action.STOP
    unreadable: Action = Action.FLAG
    judge_system: StrictBool = False
    max_repairs: StrictInt = Field(2, ge=1)
    language: str = "en"
    custom_categories: list[str] = []
    messages: dict[str, dict[str, str]] = {}
    prompt: _RulesFile
    response: _RulesFile
    tools: _ToolsFile = _ToolsFile()
    cascade: _CascadeFile = _CascadeFile()
    normalise: _NormaliseFile = _NormaliseFile()


def load_policy(source: PolicySource) -> Policy:
    """Return a policy from a ready policy's name, a TOML file, or a policy as it is.

    Raises:
        PolicyError: no such policy or file, bad TOML, an unknown key or an impossible value.
    """
    if isinstance(source, Policy):
        return source
    if source in READY_POLICIES:
        return parse_policy(files("guardrail.assets").joinpath("policies", f"{source}.toml").read_text("utf-8"))
    try:
        text = Path(source).read_text("utf-8")
    except FileNotFoundError as error:
        known = ", ".join(READY_POLICIES)
        raise PolicyError(f"no policy {str(source)!r}", hint=f"a TOML file or one of {known}") from error
    except TypeError as error:
        what = f"a policy is a ready policy's name, a TOML file or a Policy, not {type(source).__name__}"
        raise PolicyError(what, hint=f"ready are {', '.join(READY_POLICIES)}") from error
    except (OSError, ValueError) as error:  # a folder, no UTF-8, a name no file can have
        raise PolicyError(f"cannot read the policy {str(source)[:80]!r}: {type(error).__name__}") from error
    try:
        return parse_policy(text)
    except PolicyError as error:
        error.args = (f"{Path(source).name}: {error}",)  # which of several files
        raise


def parse_policy(text: str) -> Policy:
    """Return the policy that a TOML text describes.

    Raises:
        PolicyError: as `load_policy`.
    """
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of too many digits, and arrays nested too deeply
        raise PolicyError(f"not valid TOML: {error}") from error
    try:
        parsed = _PolicyFile.model_validate(values)
    except ValidationError as error:
        is_short = any(e["type"] == "missing" for e in error.errors())
        hint = "begin with a copy of a ready policy: docs/policies.md" if is_short else ""
        raise PolicyError("; ".join(_explain(e) for e in error.errors()), hint=hint) from error
    custom = frozenset(parsed.custom_categories)
    made = {"custom_categories", "prompt", "response", "messages", "tools", "cascade", "normalise"}
    values = parsed.model_dump(exclude=made)
    return Policy(
        **values,
        messages=dict(_by_category(parsed.messages, custom and custom | STOP_TEXTS.keys())),
        prompt=_rules(parsed.prompt, custom),
        response=_rules(parsed.response, custom),
        tools=_tools(parsed.tools),
        cascade=CascadeRules(**parsed.cascade.model_dump()),
        normalise=NormaliseRules(**parsed.normalise.model_dump()),
    )


def _tools(parsed: _ToolsFile) -> ToolRules:
    names = {name: ToolRule(**rule.model_dump()) for name, rule in parsed.names.items()}
    default = ToolRule(**parsed.default.model_dump())
    return ToolRules(default, names, controversial=parsed.controversial, on_result=parsed.on_result)


def _rules(parsed: _RulesFile, custom: frozenset[str]) -> Rules:
    rules = {name: CategoryRule(**v.model_dump()) for name, v in _by_category(parsed.categories, custom).items()}
    return Rules(**parsed.model_dump(exclude={"categories"}), categories=rules)


def _by_category(table: Mapping[str, V], custom: frozenset[str]) -> dict[str, V]:
    """Return a table under canonical names; two spellings of one category are refused.

    Args:
        table: by any spelling of a category.
        custom: names that the file declares besides the published ones; where it declares none, a name can only be
            refused by the guard, which knows its model's categories.
    """
    named: dict[str, V] = {}
    for spelling, value in table.items():
        name = category_name(spelling)
        if custom and name not in custom | _PUBLISHED:
            raise PolicyError(
                f"unknown category {spelling!r}; valid: {', '.join(sorted(custom | _PUBLISHED))}",
                hint="custom_categories names the model's own; without it the guard checks names by its model",
            )
        if name in named:
            raise PolicyError(f"category {name!r} stands twice, once as {spelling!r}")
        named[name] = value
    return named


def _explain(error: Any) -> str:
    """Say in one line what is wrong at which key, and what would be right."""
    where = ".".join(str(part) for part in error["loc"]) or "policy"
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key; valid: {', '.join(_valid_keys(error['loc'][:-1]))}"
    return f"{where}: {'is missing' if error['type'] == 'missing' else error['msg']}"


def _valid_keys(path: tuple[str | int, ...]) -> list[str]:
    model: type[_Strict] = _PolicyFile
    if "categories" in path:
        model = _CategoryFile
    elif path and path[0] in ("prompt", "response"):
        model = _RulesFile
    elif path and path[0] == "tools":
        model = _ToolsFile if len(path) == 1 else _ToolRuleFile
    elif path == ("cascade",):
        model = _CascadeFile
    elif path == ("normalise",):
        model = _NormaliseFile
    return sorted(model.model_fields)
