"""What is installed: our own version, the packages it needs, and which extras can be used. Nothing is imported."""

import importlib.metadata
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from guardrail.doctor.checks import Check, failed, ok, warning

PROJECT = "guardrail-stream"
NAMESAKE = "guardrail"
"""Another distribution with our import name."""

COLLECTIONS = {"all", "dev"}
"""Extras that are made of others, or only for work on the package itself."""

_APART = {"optimum": "in an environment of its own: it needs an older transformers"}
"""Extras that do not go with others, and why; written behind their command as a comment."""

_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.-]*)(?:\[(?P<extras>[^]]*)\])?"
    r"(?:(?P<relation>[=><~!]=?)(?P<version>[\w.]+))?(?: ?; ?extra ?== ?[\"'](?P<of>[\w-]+)[\"'])?"
)


@dataclass(frozen=True, slots=True)
class Need:
    """One requirement of the package.

    Attributes:
        name: of the package that is needed.
        extras: of it, separated by commas; empty for none.
        at_least: its lowest version; empty for any.
        of: extra of ours that needs it; empty for the core.
    """

    name: str
    extras: str
    at_least: str
    of: str


@dataclass(frozen=True, slots=True)
class Package:
    """One package as it is needed and as it is installed.

    Attributes:
        name: of the package.
        at_least: lowest version that we take; empty for any.
        installed: version; None where it is not.
        is_usable: whether it is installed, and new enough.
    """

    name: str
    at_least: str
    installed: str | None
    is_usable: bool


@dataclass(frozen=True, slots=True)
class Extra:
    """Whether one extra can be used.

    Attributes:
        name: of the extra.
        is_usable: whether all that it needs is installed, and new enough.
        missing: what is not, as pip names it.
        install: the command that makes it usable.
    """

    name: str
    is_usable: bool
    missing: tuple[str, ...]
    install: str


@dataclass(frozen=True, slots=True)
class Installation:
    """Our package and what it needs.

    Attributes:
        version: of our package; None where it is not installed as one.
        dependencies: of the core.
        extras: by name.
    """

    version: str | None
    dependencies: tuple[Package, ...]
    extras: tuple[Extra, ...]


def read_installation() -> Installation:
    """Read what the installed packages say of themselves."""
    version = installed_version(PROJECT)
    if version is None:
        return Installation(None, (), ())
    needs = [parse_need(line) for line in importlib.metadata.requires(PROJECT) or ()]
    names = importlib.metadata.metadata(PROJECT).get_all("Provides-Extra") or []
    return Installation(
        version,
        tuple(_package(need) for need in needs if not need.of),
        tuple(_extra(name, needs) for name in sorted({*names} - COLLECTIONS)),
    )


def installation_checks(installation: Installation) -> list[Check]:
    """Return whether the package is whole, and alone under its name."""
    if installation.version is None:
        advice = f'run the one that is installed: pip install "{PROJECT}"'
        return [failed("package", f"{PROJECT} is not installed as a package", advice)]
    wrong = [one for one in installation.dependencies if not one.is_usable]
    told = ", ".join(f"{one.name} {one.installed or 'missing'} (needs {one.at_least or 'any'})" for one in wrong)
    found = [ok("package", f"{PROJECT} {installation.version}, {len(installation.dependencies)} dependencies")]
    if wrong:
        found = [failed("package", told, f'pip install --upgrade "{PROJECT}"')]
    if other := installed_version(NAMESAKE):
        found.append(
            warning(
                "namesake",
                f"the distribution {NAMESAKE} {other} has the same import name",
                f"pip uninstall {NAMESAKE}, then install {PROJECT} again: each overwrites files of the other",
            )
        )
    return found


def parse_need(line: str) -> Need:
    """Return a requirement as our own metadata write them: a lowest version, an extra, nothing else.

    Raises:
        ValueError: it is written in another way; a test holds that none of ours is.
    """
    found = _REQUIREMENT.fullmatch(line.strip())
    if found is None or found["relation"] not in (None, ">=", "=="):
        raise ValueError(f"a requirement that is not understood: {line}")
    return Need(found["name"], found["extras"] or "", found["version"] or "", found["of"] or "")


def is_at_least(installed: str, wanted: str) -> bool:
    """Whether a version is the wanted one or a later one, by its leading numbers."""
    return _numbers(installed) >= _numbers(wanted)


def installed_version(name: str) -> str | None:
    """Return the version of a package; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _package(need: Need) -> Package:
    installed = installed_version(need.name)
    is_usable = installed is not None and is_at_least(installed, need.at_least)
    return Package(need.name, need.at_least, installed, is_usable)


def _extra(name: str, needs: Sequence[Need]) -> Extra:
    missing = tuple(
        f"{need.name}>={need.at_least}" if need.at_least else need.name
        for need in _needs_of(name, needs)
        if not _package(need).is_usable
    )
    install = f'pip install "{PROJECT}[{name}]"' + (f"  # {_APART[name]}" if name in _APART else "")
    return Extra(name, not missing, missing, install)


def _needs_of(extra: str, needs: Sequence[Need]) -> Iterable[Need]:
    """Yield what an extra needs; extras of ours that it names are followed."""
    for need in needs:
        if need.of != extra:
            continue
        if need.name != PROJECT:
            yield need
            continue
        for inner in need.extras.split(","):
            yield from _needs_of(inner.strip(), needs)


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in found[0].split(".")] if found else []
    while numbers and numbers[-1] == 0:  # 5.0 is 5
        numbers.pop()
    return tuple(numbers)
