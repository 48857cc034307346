"""What judges are opened with besides their specs."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from guardrail.errors import ConfigurationError
from guardrail.evaluation.judge_specs import Spec
from guardrail.evaluation.judges import Judge
from guardrail.guard import Guard
from guardrail.policy import Policy

TIMEOUT_S = 120.0
RETRIES = 6
"""For one row of a judge behind HTTP: a measurement waits longer than a guard in front of a user may. Ours."""


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """What judges are opened with that their specs do not say.

    Attributes:
        policy: of every judge without one of its own.
        environment: where the option `key` finds keys of endpoints by name; nothing here reads the process's own.
        threads: of models that run here; None takes one for each physical core.
        guard: opens the guard that the kind `guard` stands for; None: there is none.
        baseline: makes the baseline that `tfidf` alone stands for; None: it must be given files to learn from.
        cache: folder in which baselines that were learnt are kept; None keeps none.
        is_tried: whether what is not ours is asked about one harmless row when it is opened, so that a wrong address or
            key is an error at once, not a table of failures.
    """

    policy: Policy
    environment: Mapping[str, str] = field(default_factory=dict)
    threads: int | None = None
    guard: Callable[[], AbstractContextManager[Guard]] | None = None
    baseline: Callable[[Policy], Judge] | None = None
    cache: Path | None = None
    is_tried: bool = True


def key_of(spec: Spec, settings: JudgeSettings) -> str:
    """Return the key that a spec's option `key` names; empty without one.

    Raises:
        ConfigurationError: the environment has no such variable.
    """
    name = spec.options.get("key")
    if name is None:
        return ""
    if not settings.environment.get(name):
        raise ConfigurationError(f"{spec.kind}: key={name} names no variable of the environment that is set")
    return settings.environment[name]
