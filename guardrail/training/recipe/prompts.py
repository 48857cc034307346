"""Prompts of the recipe: versioned TOML files, ours; a recipe may name files of its own instead."""

import hashlib
import json
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from guardrail.errors import ConfigurationError


@checked(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class _File:
    version: int
    texts: dict[str, str]


@dataclass(frozen=True, slots=True)
class Prompts:
    """The texts that one stage sends to models.

    Attributes:
        version: of the file.
        sha256: of its bytes, in hex.
        texts: by name; `$name` stands for a value, `$$` for a dollar sign.
    """

    version: int
    sha256: str
    texts: dict[str, str]

    def fill(self, name: str, /, **values: object) -> str:
        """Return a text with its values; what the values hold is not looked into.

        Raises:
            ConfigurationError: there is no such text, or it asks for a value that the stage does not have.
        """
        try:
            return Template(self.texts[name]).substitute(values)
        except (KeyError, ValueError) as error:
            raise ConfigurationError(
                f"prompt {name!r} cannot be filled: {error}", hint=f"values: {', '.join(values) or 'none'}"
            ) from None


def load_prompts(stage: str, path: Path | None = None) -> Prompts:
    """Return the prompts of a stage: those of a file, else ours.

    Raises:
        ConfigurationError: the file cannot be read, or is no such file.
    """
    source = path or files("guardrail.training") / "prompts" / f"{stage}.toml"
    try:
        data = source.read_bytes()
        # as JSON, because there strictness takes a table for a dataclass
        found = TypeAdapter(_File).validate_json(json.dumps(tomllib.loads(data.decode()), default=str))
    except (OSError, ValueError, ValidationError) as error:
        raise ConfigurationError(f"cannot read the prompts in {source.name} ({type(error).__name__})") from error
    return Prompts(found.version, hashlib.sha256(data).hexdigest(), found.texts)
