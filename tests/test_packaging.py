"""What is installed is what lies on the disk: a folder missing from `packages` leaves the wheel without a word."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SETUPTOOLS: dict[str, Any] = PROJECT["tool"]["setuptools"]
FOLDERS = {"guardrail": "guardrail", "adapters": "guardrail.adapters", "onnx_export": "guardrail.onnx_export"}
"""Folder in the repository to the package it is installed as."""


def on_disk() -> dict[str, Path]:
    """Every package by its installed name."""
    found = {}
    for folder, package in FOLDERS.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT / folder).parts
            found[".".join([package, *parts])] = init.parent
    return found


def sources() -> dict[str, Path]:
    """Every file that users need, by its path in the wheel."""
    return {
        f"{package.replace('.', '/')}/{path.relative_to(ROOT / folder).as_posix()}": path
        for folder, package in FOLDERS.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_packages_listed_are_the_folders_on_disk() -> None:
    """A new folder must be added to `packages`; a removed one taken out."""
    assert sorted(SETUPTOOLS["packages"]) == sorted(on_disk())


def test_every_folder_with_code_is_a_package() -> None:
    """A folder without `__init__.py` would be left out as well."""
    folders = {path.parent for path in sources().values() if path.suffix == ".py"}
    assert folders == set(on_disk().values())


def test_every_data_file_is_matched_by_package_data() -> None:
    """What is no Python file is packaged only when a pattern names it."""
    packages = on_disk()
    packaged = {
        path
        for package, patterns in SETUPTOOLS["package-data"].items()
        for path in packages[package].rglob("*")
        if any(fnmatch(path.relative_to(packages[package]).as_posix(), pattern) for pattern in patterns)
    }
    data = {path for path in sources().values() if path.suffix != ".py"}
    assert sorted(str(path) for path in data - packaged) == []


@pytest.mark.parametrize(
    ("package", "pattern"),
    [(package, pattern) for package, patterns in SETUPTOOLS["package-data"].items() for pattern in patterns],
)
def test_every_package_data_pattern_matches_a_file(package: str, pattern: str) -> None:
    """A pattern for a file that is gone hides that it is gone."""
    assert list(on_disk()[package].glob(pattern))


@pytest.mark.parametrize("name", ["__init__.py", "adapters", "onnx_export"])
def test_type_checkers_see_the_mapped_folders(name: str) -> None:
    """mypy and pyright read the mapping from three links."""
    link = ROOT / "tools" / "import_paths" / "guardrail" / name
    target = ROOT / ("guardrail/__init__.py" if name == "__init__.py" else name)
    assert link.is_symlink()
    assert link.resolve() == target.resolve()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the sources, so that no old build folder leaks into it."""
    copy, out = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("wheel")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(out), str(copy)], check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_exactly_the_sources(wheel: Path) -> None:
    """Every module and data file under its installed name, and nothing of tests, tools or type-checker links."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == set(sources())


def test_the_wheel_holds_no_tests_data_sets_or_pickles(wheel: Path) -> None:
    """Code, pages, policies, the demo's few texts and one model: no other kind of file, and nothing large but that."""
    with zipfile.ZipFile(wheel) as archive:
        sizes = {Path(info.filename): info.file_size for info in archive.infolist()}
    files = {path: size for path, size in sizes.items() if not path.parts[0].endswith(".dist-info")}
    kinds = {"css", "data", "html", "js", "json", "jsonl", "onnx", "py", "safetensors", "svg", "toml", "typed"}
    assert {path.suffix.lstrip(".") for path in files} <= kinds
    assert not {part for path in files for part in path.parts} & {"tests", "fixtures", "benchmarks", "tools", "fuzz"}
    model = Path("guardrail/assets/default")
    assert [path for path, size in files.items() if size > 100_000 and path.parent != model] == []


def test_the_wheel_is_small_and_pure(wheel: Path) -> None:
    """With the embedded model it stays below 30 MB, and serves every platform."""
    assert wheel.name.endswith("-py3-none-any.whl")
    assert wheel.stat().st_size < 30e6


def test_the_command_is_installed() -> None:
    """`guardrail` is an entry point of the installed distribution."""
    scripts = importlib.metadata.entry_points(group="console_scripts", name="guardrail")
    assert [script.value for script in scripts] == ["guardrail.cli.main:main"]


def test_the_version_is_in_the_changelog() -> None:
    """The version stands once, in pyproject.toml, and CHANGELOG.md knows it or keeps unreleased changes."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"## [{PROJECT['project']['version']}]" in text or "## [Unreleased]" in text


def test_all_leaves_out_what_cannot_live_with_the_rest() -> None:
    """Its requirements clash with those of the other extras: it needs an environment of its own."""
    extras = PROJECT["project"]["optional-dependencies"]
    inside = re.fullmatch(r"guardrail-stream\[(.*)\]", extras["all"][0])
    assert inside
    assert set(extras) - set(inside[1].split(",")) == {"all", "dev", "optimum"}


def test_extras_named_in_errors_exist() -> None:
    """What MissingExtra tells people to install can be installed."""
    text = "\n".join(path.read_text("utf-8") for path in sources().values() if path.suffix == ".py")
    named = set(re.findall(r"""MissingExtra\(\s*"[^"]+",\s*"([^"]+)"\s*\)""", text))
    assert named <= set(PROJECT["project"]["optional-dependencies"])


@pytest.mark.parametrize("name", ["demo.txt", "fuzz.txt", "optimum.txt", "test.txt", "wheel-test.txt"])
def test_pins_are_exact_hashed_and_name_no_host(name: str) -> None:
    """Every requirement of a lock file is one version with hashes; indexes are the user's choice."""
    text = (ROOT / "constraints" / name).read_text("utf-8")
    requirements = [part for part in re.split(r"\n(?=\S)", text) if not part.startswith("#")]
    assert requirements
    assert [r for r in requirements if not re.match(r"[a-z0-9.-]+==[^ ]+ ", r) or "--hash=sha256:" not in r] == []
    assert not re.search(r"https?:|--index|--find-links|@ ", text)


def test_the_demo_installs_no_torch() -> None:
    """torch is pinned apart, for the tests only."""
    demo = (ROOT / "constraints" / "demo.txt").read_text("utf-8")
    assert not re.search(r"^(torch|transformers|nvidia)", demo, re.MULTILINE)
    assert re.search(r"^torch==[\d.]+$", (ROOT / "constraints" / "torch.txt").read_text("utf-8"), re.MULTILINE)
