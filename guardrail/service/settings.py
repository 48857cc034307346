"""What a server is told: one model for the TOML file, the environment and the flags; unknown keys are refused.

Flags win over the environment (`GUARDRAIL_SERVER__PORT=9000`), the environment over the file.
"""

import tomllib
from pathlib import Path
from typing import Any, ClassVar, Self, get_args

from pydantic import BaseModel, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from guardrail.errors import ConfigurationError
from guardrail.service.sections import (
    GuardSettings,
    KeySettings,
    RecordSettings,
    RouteSettings,
    ServerSettings,
    StreamSettings,
    UpstreamSettings,
)


class Settings(BaseSettings):
    """All of it."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix="GUARDRAIL_",
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    server: ServerSettings = ServerSettings()
    guard: GuardSettings = GuardSettings()
    routes: RouteSettings = RouteSettings()
    upstream: UpstreamSettings | None = None
    streams: StreamSettings = StreamSettings()
    records: RecordSettings = RecordSettings()
    keys: tuple[KeySettings, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.server.is_public and not (self.keys or self.server.allow_public):
            raise ValueError(
                f"{self.server.host} can be reached from outside: set [[keys]], or say allow_public = true"
            )
        if self.keys and self.upstream and self.upstream.forward_authorization:
            raise ValueError("[[keys]] and forward_authorization exclude each other: the upstream would get our keys")
        if len({key.name for key in self.keys}) < len(self.keys):
            raise ValueError("two keys have one name")
        return self


def load_settings(path: Path | None = None, **flags: Any) -> Settings:
    """Return settings from a TOML file, the environment and flags.

    Args:
        path: the file; None takes none.
        flags: nested dicts of what was said on the command line.

    Raises:
        ConfigurationError: the file cannot be read, or holds an unknown key or an impossible value.
    """
    _refuse_bad_toml(path)

    class _Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *args: Any, **kwargs: PydanticBaseSettingsSource
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            sources: list[PydanticBaseSettingsSource] = [*args, *kwargs.values()]
            init, env = sources[:2]
            return (init, env, TomlConfigSettingsSource(settings_cls, path)) if path else (init, env)

    try:
        return _Loaded(**flags)
    except ValidationError as error:
        raise ConfigurationError(_said(error, path)) from None  # the original shows values, which may be secrets


def _refuse_bad_toml(path: Path | None) -> None:
    if path is None:
        return
    try:
        tomllib.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:  # also numbers of too many digits, and arrays nested too deeply
        raise ConfigurationError(f"{path} is no TOML: {error}") from None


def _said(error: ValidationError, path: Path | None) -> str:
    """Return what is wrong, place by place, without values."""
    wrong = []
    for one in error.errors():
        place = ".".join(map(str, one["loc"]))
        message = one["msg"].removeprefix("Value error, ")
        if one["type"] == "extra_forbidden":
            message = f"unknown key; valid: {', '.join(_keys_beside(one['loc']))}"
        wrong.append(f"{place}: {message}" if place else message)
    return f"{path or 'settings'}: {'; '.join(wrong)}"


def _keys_beside(place: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the section in which a key stands."""
    section: type[BaseModel] = Settings
    for part in place[:-1]:
        if isinstance(part, str) and part in section.model_fields:
            section = _section_in(section.model_fields[part].annotation) or section
    return sorted(section.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a field's type holds: itself, optional, or one of many."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)
