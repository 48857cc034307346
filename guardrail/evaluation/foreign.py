"""Judges that are Python code of others: a function of the user's, and scanners of other projects.

They are imported where they are asked for; nothing here depends on them.
"""

import importlib
import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from guardrail.decision import Direction
from guardrail.errors import ConfigurationError, EngineError
from guardrail.evaluation.opinions import Ask
from guardrail.evaluation.rows import Row
from guardrail.taxonomy import RiskLevel

TAKES = ("texts", "rows")
"""What a function is called with: a list of the judged texts, or of rows."""


def function_of(target: str, takes: str) -> Ask:
    """Return what asks a function that is named `module:function`; the function is called with a list.

    Raises:
        ConfigurationError: there is no such module, or no such function in it.
    """
    module_name, _, name = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        hint = "PYTHONPATH=. finds modules of the working directory"
        raise ConfigurationError(f"cannot import {module_name!r}: {error}", hint=hint) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigurationError(f"{module_name} has no function {name!r}", hint="write python:MODULE:FUNCTION")

    def ask(rows: Sequence[Row]) -> Sequence[object]:
        return _called(target, function, list(rows) if takes == "rows" else [row.judged_text for row in rows])

    return ask


def _called(name: str, function: Callable[..., Any], *given: object) -> list[object]:
    """Return the list that foreign code gives.

    Raises:
        EngineError: it raised; the message names the exception's type, and never what it said.
    """
    try:
        return list(function(*given))
    except Exception as error:  # the engine's edge: what foreign code raises is nobody's to foresee
        raise EngineError(f"{name} raised {type(error).__name__}") from error


@dataclass(frozen=True, slots=True)
class Peer:
    """Another project's scanner that works offline, with nothing but its package.

    Attributes:
        version: that was measured in docs/judges.md, and that the hint names.
        module: imported as.
        open: from the module to a function of judged texts and whether they are answers.
    """

    version: str
    module: str
    open: Callable[[Any], Callable[[Sequence[str], bool], list[object]]]


def _alt_profanity_check(module: Any) -> Callable[[Sequence[str], bool], list[object]]:
    def ask(texts: Sequence[str], _is_answer: bool) -> list[object]:
        found = zip(module.predict(texts).tolist(), module.predict_prob(texts).tolist(), strict=True)
        return [{"risk": _level(bool(called)), "score": score} for called, score in found]

    return ask


def _better_profanity(module: Any) -> Callable[[Sequence[str], bool], list[object]]:
    scanner = module.Profanity()
    return lambda texts, _is_answer: [bool(scanner.contains_profanity(text)) for text in texts]


def _forcefield(module: Any) -> Callable[[Sequence[str], bool], list[object]]:
    guard = module.Guard(telemetry=False)  # it would tell its makers what it found

    def ask(texts: Sequence[str], is_answer: bool) -> list[object]:
        if is_answer:
            found = [guard.moderate(text) for text in texts]
            return [
                {"risk": _level(not one.passed), "score": max(one.confidence_scores.values(), default=0.0)}
                for one in found
            ]
        scans = [guard.scan(text) for text in texts]
        return [{"risk": _level(scan.blocked), "score": scan.risk_score} for scan in scans]

    return ask


def _level(is_harmful: bool) -> str:
    return RiskLevel.UNSAFE if is_harmful else RiskLevel.SAFE


PEERS = {
    "alt-profanity-check": Peer("1.9.1", "profanity_check", _alt_profanity_check),
    "better-profanity": Peer("0.7.0", "better_profanity", _better_profanity),
    "forcefield": Peer("0.8.0", "forcefield", _forcefield),
}
"""Distribution to how it is asked."""


def peer_of(name: str) -> tuple[Ask, dict[str, str]]:
    """Return what asks a scanner, and what it is.

    Raises:
        ConfigurationError: the scanner is unknown, or not installed.
    """
    if name not in PEERS:
        valid = ", ".join(PEERS)
        raise ConfigurationError(
            f"unknown peer {name!r}; valid: {valid}", hint="python:MODULE:FUNCTION takes any other"
        )
    peer = PEERS[name]
    try:
        function = peer.open(importlib.import_module(peer.module))
    except ModuleNotFoundError as error:
        hint = f"pip install {name}=={peer.version}"
        raise ConfigurationError(f"{error.name or name} is not installed", hint=hint) from error

    def ask(rows: Sequence[Row]) -> Sequence[object]:
        answers: list[object] = [None] * len(rows)
        for target in Direction.PROMPT, Direction.RESPONSE:
            places = [i for i, row in enumerate(rows) if row.target is target]
            texts = [rows[i].judged_text for i in places]
            said = _called(name, function, texts, target is Direction.RESPONSE) if places else []
            for place, one in zip(places, said, strict=True):
                answers[place] = one
        return answers

    return ask, {"engine": "peer", "model": name, "version": importlib.metadata.version(name)}
