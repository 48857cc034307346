"""All that the doctor looks at, in order; what cannot be looked at after a failure is left out."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from guardrail.doctor.checks import Check, State, failed, ok, one_line
from guardrail.doctor.environment import Variable, environment_check, hub_folder, is_offline, read_variables
from guardrail.doctor.machine import MachineFacts, machine_checks, read_machine
from guardrail.doctor.models import (
    HubCopy,
    ModelFacts,
    check_files,
    facts_of,
    hub_check,
    look_into_hub,
    open_model,
)
from guardrail.doctor.packages import Installation, installation_checks, read_installation
from guardrail.doctor.trial import Speed, Trial, measure_speed, try_model
from guardrail.errors import EngineError, PolicyError
from guardrail.loader import EMBEDDED, LoadedModel
from guardrail.policy import Policy
from guardrail.policy_file import load_policy

SCHEMA_VERSION = 1
"""Of the report as JSON: raised when a key is taken away or changes its meaning."""

Tell = Callable[[str], object]
"""Is told what is being done."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the doctor found.

    Attributes:
        installation: the package, what it needs, its extras.
        machine: what it runs on.
        environment: variables that change what it does.
        policy: name of the policy; None where it cannot be read.
        model: that judges; None where it cannot be loaded.
        hub_cache: what the hub's cache holds of the published model.
        trials: verdicts on prompts whose risk is known.
        speed: None where it was not measured.
        checks: how each thing stands, in the order in which they were looked at.
    """

    installation: Installation
    machine: MachineFacts
    environment: tuple[Variable, ...]
    policy: str | None
    model: ModelFacts | None
    hub_cache: HubCopy
    trials: tuple[Trial, ...]
    speed: Speed | None
    checks: tuple[Check, ...]

    @property
    def is_usable(self) -> bool:
        """Whether nothing failed."""
        return all(one.state is not State.FAILED for one in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return it with plain values, under keys that stay."""
        return {"schema_version": SCHEMA_VERSION, "is_usable": self.is_usable, **asdict(self)}


def examine(model: str = EMBEDDED, policy: str = "balanced", *, quick: bool = False, tell: Tell = str) -> Report:
    """Look at everything; nothing is downloaded, and a checkpoint is exported into the cache as on its first use.

    Args:
        model: "default" (embedded), a hub id that the hub's cache holds, a checkpoint folder or an exported folder.
        policy: ready policy or a TOML file.
        quick: leave the measurement out.
        tell: is told what is being done.
    """
    tell("reading what is installed")
    installation, machine, variables = read_installation(), read_machine(), read_variables(os.environ)
    copy = look_into_hub(hub_folder(os.environ))
    rules, policy_found = _read_policy(policy)
    named = None if rules is None else rules.name
    work = _use_model(model, rules, quick=quick, tell=tell)
    checks = [
        *installation_checks(installation),
        *machine_checks(machine),
        environment_check(variables, machine.cores),
        policy_found,
        *work.checks,
        hub_check(copy, is_offline=is_offline(os.environ)),
    ]
    return Report(installation, machine, variables, named, work.facts, copy, work.trials, work.speed, tuple(checks))


@dataclass(frozen=True, slots=True)
class _Work:
    """What the model did, as far as it came."""

    facts: ModelFacts | None
    trials: tuple[Trial, ...]
    speed: Speed | None
    checks: tuple[Check, ...]


def _read_policy(source: str) -> tuple[Policy | None, Check]:
    try:
        policy = load_policy(source)
    except (PolicyError, OSError) as error:
        return None, failed("policy", one_line(error), "docs/policies.md has the keys of a policy file")
    return policy, ok("policy", policy.name)


def _use_model(source: str, policy: Policy | None, *, quick: bool, tell: Tell) -> _Work:
    tell("checking the model's files")
    folder, files_found = check_files(source)
    if folder is None:
        return _Work(None, (), None, (files_found,))
    tell("loading the model")
    model, engine_found = open_model(source, folder)
    if model is None:
        return _Work(None, (), None, (files_found, engine_found))
    try:
        tell("judging two prompts")
        is_embedded = source == EMBEDDED
        trials, smoke_found = try_model(model, policy or load_policy("balanced"), is_embedded=is_embedded)
        speed, speed_found = (None, ()) if quick or smoke_found.state is State.FAILED else _measure(model, tell)
    finally:
        model.engine.close()
    checks = (files_found, engine_found, smoke_found, *speed_found)
    return _Work(facts_of(source, folder, model), trials, speed, checks)


def _measure(model: LoadedModel, tell: Tell) -> tuple[Speed | None, tuple[Check, ...]]:
    tell("measuring, a few seconds")
    try:
        speed = measure_speed(model)
    except EngineError as error:
        return None, (failed("speed", one_line(error), "guardrail verify compares the model with torch"),)
    told = f"{speed.tokens_per_s:.0f} tokens judged a second, {speed.token_ms:.1f} ms a streamed token"
    return speed, (ok("speed", f"{told} (9 in 10 under {speed.token_p90_ms:.1f})"),)
