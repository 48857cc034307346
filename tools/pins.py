"""Reads the lock files in constraints/, and what an environment has installed."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints"
PROJECT = "guardrail-stream"

UNHASHED = ("torch.txt",)
"""The one file without hashes: the same version of torch has other files on every index (CONTRIBUTING.md)."""

_PIN = re.compile(r"(?P<name>[a-z0-9.-]+)(?:\[[^]]*\])?==(?P<version>[^ ;\\]+)(?: ; (?P<marker>[^\\]+?))? *\\?$")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})\b")


@dataclass(frozen=True, slots=True)
class Pin:
    """One requirement of a lock file.

    Attributes:
        name: of the package, in its one form.
        version: the only one allowed.
        marker: where it is needed; None is everywhere.
        hashes: SHA-256 of every file of that release, hexadecimal.
    """

    name: str
    version: str
    marker: Marker | None
    hashes: tuple[str, ...]

    @property
    def is_needed(self) -> bool:
        """Whether this machine needs it."""
        return self.marker is None or self.marker.evaluate()


def lock_files() -> list[Path]:
    """Return every lock file whose pins must carry hashes."""
    return sorted(path for path in CONSTRAINTS.glob("*.txt") if path.name not in UNHASHED)


def read_pins(path: Path) -> list[Pin]:
    """Return the pins of a lock file.

    Raises:
        ValueError: a requirement is no exact pin; the message names it.
    """
    text = path.read_text("utf-8")
    return [_pin(part) for part in re.split(r"\n(?=\S)", text) if part and not part.startswith("#")]


def _pin(requirement: str) -> Pin:
    first = requirement.splitlines()[0].rstrip()
    found = _PIN.fullmatch(first)
    if found is None:
        raise ValueError(f"{first} is no exact pin")
    marker = Marker(found["marker"]) if found["marker"] else None
    return Pin(canonicalize_name(found["name"]), found["version"], marker, tuple(_HASH.findall(requirement)))


def installed(environment: Path) -> dict[str, Distribution]:
    """Return what a virtual environment has installed, by name."""
    (packages,) = environment.glob("lib/python*/site-packages")
    return {canonicalize_name(found.name): found for found in distributions(path=[str(packages)])}


def closure(found: dict[str, Distribution], name: str, extras: Iterable[str] = ()) -> set[str]:
    """Return a package and all that it needs here, directly or not, also what is not installed."""
    reached: set[tuple[str, frozenset[str]]] = set()
    waiting: list[tuple[str, frozenset[str]]] = [(canonicalize_name(name), frozenset(extras))]
    while waiting:
        one = waiting.pop()
        if one not in reached:
            reached.add(one)
            waiting += needs(found[one[0]], one[1]) if one[0] in found else []
    return {name for name, _ in reached}


def needs(package: Distribution, extras: Iterable[str] = ()) -> list[tuple[str, frozenset[str]]]:
    """Return what a package with these extras requires here: names, each with the extras it is asked for."""
    asked = [{"extra": one} for one in ("", *extras)]
    return [
        (canonicalize_name(one.name), frozenset(one.extras))
        for one in map(Requirement, package.requires or ())
        if one.marker is None or any(map(one.marker.evaluate, asked))
    ]
