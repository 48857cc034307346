"""The tools that audit what is installed, and the bill of materials."""

import copy
import hashlib
import importlib.metadata
import json
import os
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import Marker
from packaging.utils import canonicalize_name

from tools import audit, sbom
from tools.audit import State, audited, check_pins, check_yanked, differences
from tools.licences import is_allowed, licence_of
from tools.pins import PROJECT, ROOT, Pin, closure, read_pins

FOUND: dict[str, importlib.metadata.Distribution] = {
    canonicalize_name(one.name): one for one in importlib.metadata.distributions()
}
"""What the tests run with."""
DETAILS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SHA256 = "0" * 64


def test_every_pin_of_every_lock_file_is_exact_and_hashed() -> None:
    """The tool reads the files as they are, and finds nothing wrong."""
    outcome = check_pins()
    assert (outcome.state, outcome.lines[0].endswith("each exact and hashed")) == (State.OK, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"a==1.0 \\\n    --hash=sha256:{SHA256}\n", []),
        ("a==1.0\n", ["x.txt: a has no hash"]),
        (f"a==1.0 \\\n    --hash=md5:{SHA256}\n", ["x.txt: a has no hash"]),
        (f"a>=1.0 \\\n    --hash=sha256:{SHA256}\n", ["x.txt: a>=1.0 \\ is no exact pin"]),
        (f"--index-url x\na==1.0 \\\n    --hash=sha256:{SHA256}\n", ["x.txt: --index-url x is no exact pin"]),
    ],
)
def test_a_loose_pin_is_found(text: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing or weak hash, a range, and an index."""
    path = tmp_path / "x.txt"
    path.write_text(text, "utf-8")
    monkeypatch.setattr(audit, "lock_files", lambda: [path])
    outcome = check_pins()
    assert list(outcome.lines) == expected if expected else outcome.state is State.OK
    assert outcome.state is (State.FAILED if expected else State.OK)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"a": "1.0", "b": "2.0+cpu", PROJECT: "9", "pip": "9"}, []),
        ({"a": "1.1", "b": "2.0"}, ["a is 1.1, pinned 1.0"]),
        ({"b": "2.0"}, ["a is missing, pinned 1.0"]),
        ({"a": "1.0", "b": "2.0", "c": "3"}, ["c is installed, and not pinned"]),
    ],
)
def test_an_environment_that_departs_from_its_pins_is_found(found: dict[str, str], expected: list[str]) -> None:
    """Another version, a missing package, one too many; pins of other platforms do not count."""
    elsewhere = Pin("w", "1", Marker("sys_platform == 'nowhere'"), ())
    pins = [Pin("a", "1.0", None, ()), Pin("b", "2.0", Marker("python_version >= '3'"), ()), elsewhere]
    assert differences(found, pins) == expected


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ('{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}', State.OK),
        ('{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "X", "fix_versions": []}]}]}', State.FAILED),
        ('{"dependencies": [{"name": "a", "skip_reason": "not found"}]}', State.NOT_RUN),
        ('{"dependencies": []}', State.NOT_RUN),
        ("", State.NOT_RUN),
        ("Traceback", State.NOT_RUN),
    ],
)
def test_what_was_not_looked_up_is_no_pass(answer: str, state: State) -> None:
    """A service that cannot be reached, or does not know a package, has cleared nothing."""
    assert audited("pypi", answer).state is state


@pytest.mark.parametrize(("is_strict", "code"), [(False, 0), (True, 1)])
def test_a_check_that_did_not_run_is_said_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, is_strict: bool, code: int
) -> None:
    """In its place and at the end; with --strict it fails the audit."""
    outcomes = {"one": lambda: audit.Outcome(State.OK, ("fine",)), "two": lambda: audited("pypi", "")}
    monkeypatch.setattr(audit, "checks", lambda: outcomes)
    assert audit.main(["--strict"] if is_strict else []) == code
    assert capsys.readouterr().out.count("NOT RUN") == 2


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index of one's own with two tiny releases, one of them withdrawn; yields where lock files may be put."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "simple" / "tiny"
    folder.mkdir(parents=True)
    links = []
    for version, mark in (("1.0", ' data-yanked="broken"'), ("1.1", "")):
        file = folder / f"tiny-{version}-py3-none-any.whl"
        with zipfile.ZipFile(file, "w") as wheel:
            about = f"tiny-{version}.dist-info"
            wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n")
            wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{about}/RECORD", "")
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        links.append(f'<a href="{file.name}#sha256={sha256}"{mark}>{file.name}</a>')
        (tmp_path / f"{version}.txt").write_text(f"tiny=={version} \\\n    --hash=sha256:{sha256}\n", "utf-8")
    (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>", "utf-8")
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "state", "line"),
    [
        ("1.0", State.FAILED, "tiny 1.0"),
        ("1.1", State.OK, "1 releases found with a pinned hash, none withdrawn"),
    ],
)
def test_a_withdrawn_release_is_found(index: Path, version: str, state: State, line: str) -> None:
    """As the index marks it, asked through pip itself."""
    outcome = check_yanked(index / f"{version}.txt")
    assert (outcome.state, *outcome.lines) == (state, line)


@pytest.mark.slow
def test_a_file_with_another_hash_fails(index: Path) -> None:
    """Not merely unknown: somebody changed a release that is pinned."""
    path = index / "changed.txt"
    path.write_text(f"tiny==1.1 \\\n    --hash=sha256:{SHA256}\n", "utf-8")
    assert check_yanked(path).state is State.FAILED


@pytest.mark.slow
def test_an_index_that_is_away_is_no_pass(index: Path) -> None:
    """The check says that it was not made."""
    path = index / "away.txt"
    path.write_text(f"nowhere==1.1 \\\n    --hash=sha256:{SHA256}\n", "utf-8")
    assert check_yanked(path).state is State.NOT_RUN


def test_what_the_core_brings_may_be_passed_on() -> None:
    """Every package that an installation without extras brings has a licence that is allowed."""
    names = closure(FOUND, PROJECT) - {PROJECT}
    assert {"numpy", "onnxruntime", "pydantic", "tokenizers"} <= names
    refused = {name: licence_of(FOUND[name]) for name in names if not is_allowed(name, licence_of(FOUND[name]))}
    assert refused == {}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", True),
        ("MPL-2.0 AND MIT", True),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only AND MIT", False),
        ("(MIT OR Apache-2.0) AND BSD-3-Clause", True),
        ("(MIT OR GPL-2.0-only) AND BSD-3-Clause", False),
        ("AGPL-3.0-or-later", False),
        ("LGPL-3.0-only", False),
        (None, False),
    ],
)
def test_only_known_licences_are_allowed(expression: str | None, *, expected: bool) -> None:
    """One alternative must be allowed in all its parts; what is not understood is not allowed."""
    assert is_allowed("some-package", expression) is expected


def test_an_exception_is_for_one_package() -> None:
    """And for the licence that was looked at."""
    assert is_allowed("psycopg", "LGPL-3.0-only")
    assert not is_allowed("psycopg", "GPL-3.0-only")


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    """The bill of materials, from what the tests run with: its versions are those of the pins."""
    return sbom.bill(FOUND, read_pins(sbom.LOCK), sbom.MODEL, DETAILS)


def test_the_bill_is_the_same_bytes_every_time(bill: dict[str, Any]) -> None:
    """Neither a time nor a serial number, and nothing of this machine but the platform's name."""
    text = sbom.written(bill)
    assert text == sbom.written(sbom.bill(FOUND, read_pins(sbom.LOCK), sbom.MODEL, DETAILS))
    assert not {"serialNumber", "timestamp"} & {*bill, *bill["metadata"]}
    assert str(ROOT) not in text


def test_the_bill_names_all_that_the_wheel_brings(bill: dict[str, Any]) -> None:
    """Every package once, with version, licence and hashes, and no other; every file of the embedded model."""
    packages = {one["name"]: one for one in bill["components"] if one["type"] == "library"}
    assert {*packages} == closure(FOUND, PROJECT) - {PROJECT}
    assert not {"torch", "setuptools", "pytest"} & {*packages}
    for name, one in packages.items():
        assert one["version"] == FOUND[name].version
        assert one["licenses"][0]["expression"]
        assert one["externalReferences"][0]["hashes"]
    (model,) = [one for one in bill["components"] if one["type"] == "machine-learning-model"]
    hashes = {one["name"]: one["hashes"][0]["content"] for one in model["components"]}
    assert hashes == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sbom.MODEL.iterdir()}


def test_the_bill_hangs_together(bill: dict[str, Any]) -> None:
    """Every reference of the graph is a component, and the package itself needs what pyproject.toml says."""
    root = bill["metadata"]["component"]["bom-ref"]
    known = {root, *(one["bom-ref"] for one in bill["components"])}
    graph = {one["ref"]: one["dependsOn"] for one in bill["dependencies"]}
    assert {*graph} | {ref for refs in graph.values() for ref in refs} <= known
    direct = {ref.removeprefix("pkg:pypi/").partition("@")[0] for ref in graph[root]}
    assert direct == {text.partition(">")[0] for text in DETAILS["dependencies"]}


def test_a_bill_of_something_else_is_refused() -> None:
    """A package in another version than its pin, or without a licence that is understood."""
    pins = [
        Pin(pin.name, "0.1", pin.marker, pin.hashes) if pin.name == "numpy" else pin for pin in read_pins(sbom.LOCK)
    ]
    with pytest.raises(ValueError, match="numpy is not installed as"):
        sbom.bill(FOUND, pins, sbom.MODEL, DETAILS)


def test_the_bill_follows_the_schema_of_cyclonedx(bill: dict[str, Any]) -> None:
    """Strictly; and the check would notice a bill that does not."""
    pytest.importorskip("cyclonedx", reason="cyclonedx has an environment of its own: make sbom checks the schema too")
    sbom.check_schema(sbom.written(bill))
    broken = copy.deepcopy(bill)
    broken["components"][0]["type"] = "nonsense"
    with pytest.raises(ValueError, match="no valid CycloneDX"):
        sbom.check_schema(json.dumps(broken))
