"""How a judge is named in one word: its kind, where it is, and options.

KIND[:TARGET][?OPTION=VALUE[&OPTION=VALUE ...]]
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Self

from guardrail.errors import ConfigurationError

_ALL = ("name", "policy")
"""Options of every kind."""

_ASKED = ("at_once", "per_minute", "key", "timeout_s")
"""Options of all that is asked over HTTP."""

_LOADED = ("precision", "revision", "threads", "at_once")

RESERVED = ("input", "comparisons")
"""Keys beside the judges' names in what `guardrail evaluate --json` prints."""

_URLS = ("http://", "https://")
"""A spec that begins like this is a service's URL itself."""

_GEN = (*_ASKED, "mode", "stride_chars")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of judge.

    Attributes:
        target: what stands behind the colon; empty if nothing may, in brackets if it need not.
        meaning: what judges.
        options: that it takes, besides `name` and `policy`.
    """

    target: str
    meaning: str
    options: tuple[str, ...] = ()

    @property
    def valid_options(self) -> tuple[str, ...]:
        """All that it takes."""
        return (*_ALL, *self.options)


KINDS: Mapping[str, Kind] = {
    "guard": Kind("", "the guard that the command's other options name", ("at_once",)),
    "default": Kind("", "the embedded model", ("threads", "at_once")),
    "onnx": Kind("SOURCE", "an exported folder, a checkpoint folder or a hub id, on ONNX Runtime", _LOADED),
    "torch": Kind("SOURCE", "a checkpoint folder or a hub id, on torch", ("precision", "revision", "at_once")),
    "gen": Kind("URL#MODEL", "a Qwen3Guard-Gen model behind an OpenAI-compatible server", _GEN),
    "cascade": Kind("CHEAP,STRONG", "two guards, the second asked where the first is in doubt", (*_LOADED, *_GEN)),
    "service": Kind("URL", "a guard behind `guardrail serve`, verdict by verdict", _ASKED),
    "openai": Kind("URL[#MODEL]", "a moderation endpoint as OpenAI has it", (*_ASKED, "form")),
    "http": Kind(
        "URL", "any service that speaks the JSON of docs/judges.md; the URL alone will do", (*_ASKED, "batch")
    ),
    "tfidf": Kind("[FILE,...]", "word and character n-grams with logistic regression, learnt here"),
    "peer": Kind("NAME", "another project's scanner that is installed here"),
    "python": Kind("MODULE:FUNCTION", "a Python function of your own", ("takes", "batch")),
}
"""Kind of judge by the word that its spec begins with."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A judge by its name, read but not opened.

    Attributes:
        kind: one of `KINDS`.
        target: what stands behind the colon; may be empty.
        options: what stands behind the question mark, as it was written.
    """

    kind: str
    target: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigurationError(f"unknown kind of judge {self.kind!r}; valid:\n{grammar()}")
        kind = KINDS[self.kind]
        if bool(self.target) != bool(kind.target) and not kind.target.startswith("["):
            raise ConfigurationError(f"a judge of this kind is written {_form(self.kind)}")
        for option in self.options:
            if option not in kind.valid_options:
                valid = ", ".join(kind.valid_options)
                raise ConfigurationError(f"{self.kind}: unknown option {option!r}; valid: {valid}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a spec.

        Raises:
            ConfigurationError: unknown kind or option, a target that is missing or too many, or no option at all.
        """
        head, _, tail = text.partition("?")
        kind, _, target = ("http", "", head) if head.startswith(_URLS) else head.partition(":")
        options: dict[str, str] = {}
        for pair in tail.split("&") if tail else ():
            name, equals, value = pair.partition("=")
            if not equals or not value or name in options:
                raise ConfigurationError(f"{kind}: an option is written NAME=VALUE, once; got {pair!r}")
            options[name] = value
        return cls(kind, target, options)

    @property
    def name(self) -> str:
        """What tables call it: `name` if given, else the kind with the last part of the target."""
        if given := self.options.get("name"):
            return given
        if not self.target:
            return self.kind
        if self.kind == "cascade":
            return f"cascade:{','.join(Spec.parse(part).name for part in self.parts)}"
        model = self.target.partition("#")[2] or self.target
        if self.kind == "http":
            return self.target
        return f"{self.kind}:{model if self.kind in ('python', 'service') else PurePath(model).name}"

    @property
    def parts(self) -> tuple[str, ...]:
        """The target's parts between commas."""
        return tuple(self.target.split(",")) if self.target else ()

    def number(self, option: str, default: float) -> float:
        """Return an option that is a positive number.

        Raises:
            ConfigurationError: it is none.
        """
        text = self.options.get(option)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise ConfigurationError(f"{self.kind}: {option} = {text} is no positive number")
        return value

    def count(self, option: str, default: int) -> int:
        """Return an option that is a positive whole number.

        Raises:
            ConfigurationError: it is none.
        """
        value = self.number(option, default)
        if value != int(value):
            raise ConfigurationError(f"{self.kind}: {option} = {value:g} is no whole number")
        return int(value)

    def choice(self, option: str, valid: Sequence[str]) -> str:
        """Return an option that is one of some words, the first of them unless given.

        Raises:
            ConfigurationError: it is another word.
        """
        value = self.options.get(option, valid[0])
        if value not in valid:
            raise ConfigurationError(f"{self.kind}: unknown {option} {value!r}; valid: {', '.join(valid)}")
        return value


def parse_specs(texts: Sequence[str]) -> tuple[Spec, ...]:
    """Read the specs of one table, before anything runs.

    Raises:
        ConfigurationError: as `Spec.parse`, two judges would have the same name, or one a name of `RESERVED`.
    """
    specs = tuple(Spec.parse(text) for text in texts)
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"two judges are called {name!r}", hint="give one of them ?name=... of its own")
        if name in RESERVED:
            raise ConfigurationError(f"no judge can be called {name!r}: the JSON has that key", hint="choose another")
    return specs


def grammar() -> str:
    """Return a line for each kind: how it is written, and what it means."""
    return "\n".join(f"  {_form(word):<24} {kind.meaning}" for word, kind in KINDS.items())


def _form(word: str) -> str:
    target = KINDS[word].target
    if target.startswith("["):
        return f"{word}[:{target[1:]}"
    return f"{word}:{target}" if target else word
