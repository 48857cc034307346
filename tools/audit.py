"""Audits what is installed beside the package: `make audit`.

Most checks work without a connection. One that could not be made says NOT RUN, in its place and at the end: it is no
pass.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from tools.licences import is_allowed, licence_of
from tools.pins import CONSTRAINTS, PROJECT, ROOT, Pin, closure, installed, lock_files, read_pins

ENVIRONMENTS = {"demo": ("demo.txt",), "test": ("test.txt", "torch.txt")}
"""Environment of the Makefile to the pins it is made from."""

SHIPPED = ("demo.txt", "service.txt")
"""Lock files of what users install; the others are for tests and tools."""

UNPINNED = {PROJECT, "pip", "setuptools", "wheel"}
"""What an environment holds besides its pins."""

EXTRAS = (
    "agents", "export", "langchain", "litellm", "mcp", "openai-agents", "otel", "pydantic-ai", "scan", "service", "sql",
)  # fmt: skip
"""Extras whose licences are looked at; torch, Ray and what trains and evaluates have environments of their own."""

SERVICES = ("pypi", "osv")
"""Where pip-audit looks for known vulnerabilities."""

ANSWER_S = 600

_YANKED = re.compile(r"is a yanked version: '(\S+)' candidate \(version (\S+)")
"""How pip warns of one; before 23.3 its report does not say it."""

_MISUSED = 2
"""What a program returns that does not understand its options."""


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    FAILED = "FAILED"
    NOT_RUN = "NOT RUN"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check found: how it ended, and lines that say why."""

    state: State
    lines: tuple[str, ...]


def ended(wrong: list[str], fine: str) -> Outcome:
    """Return a failure with what is wrong, or the pass."""
    return Outcome(State.FAILED, tuple(wrong)) if wrong else Outcome(State.OK, (fine,))


def check_pins() -> Outcome:
    """Every requirement of every lock file is one version with hashes, and no file names an index."""
    wrong, n_pins = [], 0
    for path in lock_files():
        try:
            pins = read_pins(path)
        except ValueError as error:
            wrong.append(f"{path.name}: {error}")
            continue
        n_pins += len(pins)
        wrong += [f"{path.name}: {pin.name} has no hash" for pin in pins if not pin.hashes]
        if re.search(r"https?:|--index|--find-links|@ ", path.read_text("utf-8")):
            wrong.append(f"{path.name} names where packages come from")
    return ended(wrong, f"{n_pins} pins in {len(lock_files())} files, each exact and hashed")


def check_installed(name: str) -> Outcome:
    """An environment holds what its pins say, in those versions, and nothing else."""
    environment = ROOT / ".venvs" / name
    if not (environment / ".ready").exists():
        return Outcome(State.NOT_RUN, (f"there is no .venvs/{name}",))
    found = {package: one.version for package, one in installed(environment).items()}
    pins = [pin for file in ENVIRONMENTS[name] for pin in read_pins(CONSTRAINTS / file)]
    return ended(differences(found, pins), f"{len(found)} packages as pinned")


def differences(found: dict[str, str], pins: list[Pin]) -> list[str]:
    """Return how an environment departs from its pins; of a local version, such as 2.13.0+cpu, the base counts."""
    wanted = {pin.name: pin.version for pin in pins if pin.is_needed}
    wrong = [
        f"{name} is {found.get(name, 'missing')}, pinned {version}"
        for name, version in wanted.items()
        if found.get(name, "").partition("+")[0] != version
    ]
    return wrong + [f"{name} is installed, and not pinned" for name in sorted({*found} - {*wanted} - UNPINNED)]


def check_consistent(name: str) -> Outcome:
    """What is installed fits together, says `pip check`."""
    python = ROOT / ".venvs" / name / "bin" / "python"
    if not python.exists():
        return Outcome(State.NOT_RUN, (f"there is no .venvs/{name}",))
    done = subprocess.run([python, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    return ended(done.stdout.splitlines() if done.returncode else [], "no broken requirements")


def check_licences(extras: tuple[str, ...]) -> Outcome:
    """Everything that the package and its extras bring may be passed on beside it."""
    environment = ROOT / ".venvs" / "test"
    if not (environment / ".ready").exists():
        return Outcome(State.NOT_RUN, ("there is no .venvs/test",))
    found = installed(environment)
    names = closure(found, PROJECT, extras) - {PROJECT}
    if missing := sorted(names - {*found}):
        return Outcome(State.NOT_RUN, (f"not installed in .venvs/test: {', '.join(missing)}",))
    wrong = [
        f"{name}: {licence_of(found[name]) or 'no licence that is understood'}"
        for name in sorted(names)
        if not is_allowed(name, licence_of(found[name]))
    ]
    return ended(wrong, f"{len(names)} packages of the core and of {', '.join(extras)}")


def check_yanked(path: Path) -> Outcome:
    """No pinned release was withdrawn by its authors, as far as the index says; every file has a pinned hash."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet"]
    options = ["--require-hashes", "--report", "-", "-r", str(path)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=ANSWER_S)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [
            "pip could not ask the index"
        ]
        is_wrong = any("HASHES" in line for line in said)
        return Outcome(State.FAILED if is_wrong else State.NOT_RUN, tuple(said[:3]))
    items = json.loads(done.stdout)["install"]
    yanked = {f"{one['metadata']['name']} {one['metadata']['version']}" for one in items if one.get("is_yanked")}
    yanked |= {f"{name} {version}" for name, version in _YANKED.findall(done.stderr)}
    return ended(sorted(yanked), f"{len(items)} releases found with a pinned hash, none withdrawn")


def check_vulnerabilities(path: Path) -> Outcome:
    """No pinned release has a known vulnerability. A service that does not know a package has not cleared it."""
    said: list[str] = []
    for service in SERVICES:
        command = [sys.executable, "-m", "pip_audit", "-s", service, "-f", "json", "--timeout", "15"]
        options = ["--disable-pip", "--no-deps", "--progress-spinner", "off", "-r", str(path)]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=ANSWER_S)
        if done.returncode == _MISUSED:
            return Outcome(State.FAILED, tuple(done.stderr.splitlines()[-1:]))
        outcome = audited(service, done.stdout)
        if outcome.state is not State.NOT_RUN:
            return outcome
        said += outcome.lines
    return Outcome(State.NOT_RUN, (*said, "look them up elsewhere before you rely on it"))


def audited(service: str, answer: str) -> Outcome:
    """Return what pip-audit's answer means."""
    try:
        packages: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return Outcome(State.NOT_RUN, (f"{service} cannot be reached",))
    wrong = [
        f"{one['name']} {one['version']}: {bug['id']}, mended in {', '.join(bug['fix_versions']) or 'no version'}"
        for one in packages
        for bug in one.get("vulns", ())
    ]
    unknown = sorted(one["name"] for one in packages if "skip_reason" in one)
    if wrong:
        return Outcome(State.FAILED, tuple(wrong))
    if unknown or not packages:
        return Outcome(State.NOT_RUN, (f"{service} knows nothing of {len(unknown)} of {len(packages)} packages",))
    return Outcome(State.OK, (f"{service} knows of no vulnerability of {len(packages)} packages",))


def checks() -> dict[str, Callable[[], Outcome]]:
    """Return every check by its name."""
    found: dict[str, Callable[[], Outcome]] = {"pins": check_pins}
    for name in ENVIRONMENTS:
        found[f"installed, {name}"] = partial(check_installed, name)
        found[f"consistent, {name}"] = partial(check_consistent, name)
    found["licences"] = partial(check_licences, EXTRAS)
    for file in SHIPPED:
        found[f"yanked, {file}"] = partial(check_yanked, CONSTRAINTS / file)
        found[f"vulnerabilities, {file}"] = partial(check_vulnerabilities, CONSTRAINTS / file)
    return found


def main(arguments: list[str]) -> int:
    """Run every check and print what each found; return 1 if one failed, or with --strict was not run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strict", action="store_true", help="a check that was not run fails the audit")
    strict = parser.parse_args(arguments).strict
    outcomes = {}
    for name, check in checks().items():
        outcomes[name] = check()
        print(f"{outcomes[name].state:8}{name}: {'; '.join(outcomes[name].lines)}", flush=True)
    missed = [name for name, one in outcomes.items() if one.state is State.NOT_RUN]
    if missed:
        print(f"\nNOT RUN, and so not known: {'; '.join(missed)}")
    failed = any(one.state is State.FAILED for one in outcomes.values())
    return int(failed or (strict and bool(missed)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
