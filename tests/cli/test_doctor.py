"""`guardrail doctor`: what it says of a sound installation, and of each thing that can be wrong with one.

No fixture of conftest.py is used, since these tests also run against the installed wheel.
"""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from guardrail.doctor import models, packages
from guardrail.doctor.checks import State
from guardrail.doctor.environment import hub_folder, read_variables
from guardrail.doctor.machine import MachineFacts, cpu_limit, int8_flags, machine_checks, memory_limit_mb
from guardrail.doctor.models import PUBLISHED, check_files, hub_check, look_into_hub
from guardrail.doctor.packages import PROJECT, installation_checks, is_at_least, parse_need, read_installation
from guardrail.loader import embedded_folder

HEAVY = ("torch", "transformers", "langchain_core", "litellm", "huggingface_hub")


DOCTOR = "import sys; from guardrail.cli.main import run; code = run(['doctor', *sys.argv[1:]]); "
LOADED = "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr); sys.exit(code)"


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the doctor to its end; stderr names what it has imported."""
    return subprocess.run(
        [sys.executable, "-P", "-c", DOCTOR + LOADED, *arguments],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "NO_COLOR": "1", **environment},
    )  # fmt: skip


def checks(report: dict[str, Any]) -> dict[str, str]:
    """Return the state of each check by its name."""
    return {one["name"]: one["state"] for one in report["checks"]}


def test_a_sound_installation_passes_and_is_measured() -> None:
    """Exit code 0, nothing heavy imported; files intact, the expected verdicts, a speed, under keys that stay."""
    done = run("--json", HF_TOKEN="hf_secret", GUARDRAIL_SERVER__PORT="9")
    report = json.loads(done.stdout)
    assert (done.returncode, report["is_usable"]) == (0, True)
    assert not {*HEAVY} & {*done.stderr.split()}
    assert list(report) == ["schema_version", "is_usable", "installation", "machine", "environment", "policy", "model",
                            "hub_cache", "trials", "speed", "checks"]  # fmt: skip
    found = checks(report)
    assert {found[name] for name in ("package", "model files", "engine", "smoke check", "speed")} == {"ok"}
    assert [one["risk"] for one in report["trials"]] == ["Safe", "Unsafe"]
    assert report["speed"]["tokens_per_s"] > 0
    assert report["speed"]["token_ms"] <= report["speed"]["token_p90_ms"]
    assert "hf_secret" not in done.stdout
    variables = {one["name"]: one for one in report["environment"]}
    assert variables["HF_TOKEN"]["is_set"]
    assert variables["HF_TOKEN"]["value"] is variables["GUARDRAIL_SERVER__PORT"]["value"] is None


def test_quick_for_people_leaves_the_measurement_out_and_names_what_is_missing(tmp_path: Path) -> None:
    """Every extra has a row; a policy that cannot be read fails, and the rest is still looked at."""
    done = run("--quick", "--policy", str(tmp_path / "none.toml"))
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert [line.split()[1] for line in lines if line.startswith("policy")] == ["failed"]
    assert [line.split()[2] for line in lines if line.startswith("smoke check")] == ["ok"]
    assert not [line for line in lines if line.startswith("speed")]
    assert {line.split()[0] for line in lines} >= {one.name for one in read_installation().extras}
    assert lines[-1].startswith("NOT usable")


def test_a_runtime_that_cannot_be_loaded_is_told_not_raised(tmp_path: Path) -> None:
    """As on a machine without the libraries that onnxruntime needs; the other checks are still made."""
    (tmp_path / "onnxruntime.py").write_text('raise ImportError("DLL load failed")')
    done = run("--json", "--quick", PYTHONPATH=str(tmp_path))
    report = json.loads(done.stdout)
    failed = [one for one in report["checks"] if one["state"] == "failed"]
    assert done.returncode == 1
    assert [(one["name"], one["detail"]) for one in failed] == [("engine", "DLL load failed")]
    assert report["model"] is None


def test_a_model_that_is_not_here_is_not_downloaded() -> None:
    """A hub id that the cache lacks fails with the command that fetches it."""
    folder, found = check_files("nobody/nothing")
    assert (folder, found.state) == (None, State.FAILED)
    assert "guardrail verify nobody/nothing" in found.advice


def test_damaged_files_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte more in the tokenizer, and another manifest."""
    for path in embedded_folder().iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(models, "embedded_folder", lambda: tmp_path)
    assert check_files("default")[1].state is State.OK
    with (tmp_path / "tokenizer.json").open("a") as file:
        file.write(" ")
    folder, found = check_files("default")
    assert (folder, found.state) == (None, State.FAILED)
    assert "tokenizer.json was changed" in found.detail
    (tmp_path / "manifest.json").write_text("{}")
    assert "not the one that was shipped" in check_files("default")[1].detail


def test_every_requirement_of_ours_is_understood() -> None:
    """Those of extras too, so that no extra is called usable by mistake."""
    lines = importlib.metadata.requires(PROJECT) or []
    needs = [parse_need(line) for line in lines]
    assert len(needs) == len(lines) > 7
    assert {one.name for one in needs if not one.of} >= {"numpy", "onnxruntime", "rich"}
    with pytest.raises(ValueError, match="not understood"):
        parse_need("numpy<3")


def test_extras_that_name_others_need_what_those_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """`agents` without langchain-core, which `langchain` brings, cannot be used."""
    installed = packages.installed_version
    monkeypatch.setattr(
        packages, "installed_version", lambda name: None if name == "langchain-core" else installed(name) or "99"
    )
    extras = {one.name: one for one in read_installation().extras}
    assert [one for one in extras.values() if one.is_usable and one.name in ("langchain", "agents")] == []
    assert extras["agents"].missing[0].startswith("langchain-core>=")
    assert extras["agents"].install == 'pip install "guardrail-stream[agents]"'
    assert not {"all", "dev"} & {*extras}


def test_old_missing_and_foreign_packages_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An old numpy fails; the other distribution with our import name is a warning."""
    versions = {"numpy": "1.9", PROJECT: "0.1.0", "guardrail": "2.0"}
    monkeypatch.setattr(packages, "installed_version", lambda name: versions.get(name, "99"))
    broken, namesake = installation_checks(read_installation())
    assert (broken.state, namesake.state) == (State.FAILED, State.WARNING)
    assert broken.detail.startswith("numpy 1.9 (needs ")
    monkeypatch.setattr(packages, "installed_version", lambda _name: None)
    assert installation_checks(read_installation())[0].state is State.FAILED


@pytest.mark.parametrize(
    ("installed", "wanted", "expected"),
    [("2.4.6", "1.26", True), ("5", "5.0", True), ("5.0", "5", True), ("1.9", "1.26", False),
     ("2.13.0+cpu", "2.11", True), ("1.0rc1", "1.0", True), ("1.0", "", True)],
)  # fmt: skip
def test_versions_are_compared_by_their_numbers(installed: str, wanted: str, expected: bool) -> None:
    """Not as text: 1.9 is older than 1.26."""
    assert is_at_least(installed, wanted) is expected


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [("flags\t\t: fpu avx2 avx512_vnni amx_int8\n", ("AVX512-VNNI", "AMX-INT8")), ("flags : fpu avx2", ()),
     ("Features\t: fp asimd asimddp i8mm", ("dotprod", "i8mm")), ("", None), ("model name : x", None)],
)  # fmt: skip
def test_int8_instructions_are_read_from_the_processors_flags(cpuinfo: str, expected: tuple[str, ...] | None) -> None:
    """None where nothing is listed: that is not the same as having none."""
    assert int8_flags(cpuinfo) == expected


@pytest.mark.parametrize(
    ("files", "cpus", "memory"),
    [({"cpu.max": "150000 100000", "memory.max": "2000000000"}, 1.5, 2000),
     ({"cpu.max": "max 100000", "memory.max": "max"}, None, None),
     ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5, None),
     ({"cpu/cpu.cfs_quota_us": "-1", "memory/memory.limit_in_bytes": "9223372036854771712"}, None, None),
     ({}, None, None)],
)  # fmt: skip
def test_limits_of_containers_are_read(
    files: dict[str, str], cpus: float | None, memory: int | None, tmp_path: Path
) -> None:
    """Of both versions of cgroups; no limit is None."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert (cpu_limit(tmp_path), memory_limit_mb(tmp_path)) == (cpus, memory)


@pytest.mark.parametrize(
    ("int8", "limit", "free", "expected"),
    [(("AVX-VNNI",), None, 9000, []), ((), None, 9000, ["int8"]), (None, None, None, []),
     (("AMX-INT8",), 1.5, 9000, ["cores"]), (("AMX-INT8",), 8.0, 100, ["memory"])],
)  # fmt: skip
def test_a_poor_machine_is_a_warning(
    int8: tuple[str, ...] | None, limit: float | None, free: int | None, expected: list[str]
) -> None:
    """Never a failure: the package works there."""
    facts = MachineFacts("3.11", "CPython", "Linux", "x86_64", "a processor", int8, 4, limit, 16000, free, False)
    found = machine_checks(facts)
    assert [one.name for one in found if one.state is State.WARNING] == expected
    assert all(one.advice for one in found if one.state is State.WARNING)


def test_the_hubs_cache_is_read_without_its_library(tmp_path: Path) -> None:
    """Missing, in part, whole."""
    assert hub_check(look_into_hub(tmp_path), is_offline=False).state is State.OK
    assert hub_check(look_into_hub(tmp_path), is_offline=True).state is State.WARNING
    folder = tmp_path / f"models--{PUBLISHED.replace('/', '--')}" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model-1.safetensors").write_bytes(b"")
    (folder / "model-2.safetensors").symlink_to(tmp_path / "gone")  # as a download that was broken off leaves it
    partly = look_into_hub(tmp_path)
    assert (partly.is_complete, partly.missing) == (False, ("model-2.safetensors",))
    assert hub_check(partly, is_offline=False).state is State.WARNING
    (tmp_path / "gone").write_bytes(b"")
    assert look_into_hub(tmp_path).is_complete


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}, "/a"), ({"HF_HOME": "/b"}, "/b/hub"),
     ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"), ({}, str(Path.home() / ".cache/huggingface/hub"))],
)  # fmt: skip
def test_the_hubs_cache_is_where_its_library_puts_it(environment: dict[str, str], expected: str) -> None:
    """By the same variables, in the same order."""
    assert str(hub_folder(environment)) == expected


def test_values_that_may_be_secret_are_never_read_out() -> None:
    """An address or a proxy can hold a password."""
    told = read_variables({"HF_ENDPOINT": "https://u:secret@x", "GUARDRAIL_X": "secret", "OMP_NUM_THREADS": "2"})
    assert "secret" not in str(told)
    assert [(one.name, one.value) for one in told if one.is_set] == [
        ("OMP_NUM_THREADS", "2"), ("HF_ENDPOINT", None), ("GUARDRAIL_X", None)
    ]  # fmt: skip
