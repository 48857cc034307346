"""The machine as far as it can be read without asking for rights: instructions for int8, cores, memory, limits."""

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from guardrail.bench.machine import cores, cpu_name
from guardrail.doctor.checks import Check, ok, warning

_INT8_FLAGS = {
    "avx512_vnni": "AVX512-VNNI",
    "avx_vnni": "AVX-VNNI",
    "amx_int8": "AMX-INT8",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
}
"""Flag in /proc/cpuinfo to the instruction for products of bytes; the first three of x86-64, the others of arm64."""

_MAC_FLAGS = {"hw.optional.arm.FEAT_DotProd": "dotprod", "hw.optional.arm.FEAT_I8MM": "i8mm"}
"""The same by their names in macOS' sysctl."""

_SYSCTL = "/usr/sbin/sysctl"
_ANSWER_S = 5.0
_CGROUPS = Path("/sys/fs/cgroup")
_MB = 1_000_000
_LITTLE_MB = 500
"""Free memory that is little: the service takes 142 MB with the embedded model (docs/deploy.md); our own choice."""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What the package runs on.

    Attributes:
        python: version.
        implementation: of Python, such as CPython.
        system: operating system.
        architecture: of the processor.
        cpu: its model.
        int8_instructions: for products of bytes, by their names; None where they cannot be read.
        cores: that this process may use, hardware threads included.
        cpu_limit: processors' worth of time that a container may take; None without a limit that can be read.
        memory_total_mb: of the machine or container, in 10^6 bytes; None where it cannot be read.
        memory_free_mb: that programs could take now, in 10^6 bytes; None where it cannot be read.
        has_nvidia: whether an NVIDIA driver is there; only the torch engine can use it.
    """

    python: str
    implementation: str
    system: str
    architecture: str
    cpu: str
    int8_instructions: tuple[str, ...] | None
    cores: int
    cpu_limit: float | None
    memory_total_mb: int | None
    memory_free_mb: int | None
    has_nvidia: bool


def read_machine() -> MachineFacts:
    """Read what can be read; what cannot is None, never a guess."""
    total, free = _memory_mb()
    limit = memory_limit_mb(_CGROUPS)
    if limit is not None:
        total, free = min(total or limit, limit), min(free or limit, limit)
    return MachineFacts(
        python=platform.python_version(),
        implementation=platform.python_implementation(),
        system=platform.system(),
        architecture=platform.machine(),
        cpu=cpu_name(),
        int8_instructions=_int8_instructions(),
        cores=cores(),
        cpu_limit=cpu_limit(_CGROUPS),
        memory_total_mb=total,
        memory_free_mb=free,
        has_nvidia=Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None,
    )


def machine_checks(machine: MachineFacts) -> list[Check]:
    """Return what the machine means for speed and memory."""
    return [_check_int8(machine), _check_cores(machine), _check_memory(machine)]


def int8_flags(cpuinfo: str) -> tuple[str, ...] | None:
    """Return the instructions for products of bytes that /proc/cpuinfo names; None if it lists no flags at all."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            flags = set(value.split())
            return tuple(name for flag, name in _INT8_FLAGS.items() if flag in flags)
    return None


def cpu_limit(cgroups: Path) -> float | None:
    """Return a container's share of processors, of either version of cgroups; None without a limit."""
    quota, _, period = _read(cgroups / "cpu.max").partition(" ")
    if not quota:
        quota, period = _read(cgroups / "cpu/cpu.cfs_quota_us"), _read(cgroups / "cpu/cpu.cfs_period_us")
    if not (quota.isdigit() and period.isdigit() and int(period)):  # "max", -1, or no such file
        return None
    return int(quota) / int(period)


def memory_limit_mb(cgroups: Path) -> int | None:
    """Return a container's limit of memory, of either version of cgroups; None without a limit."""
    text = _read(cgroups / "memory.max") or _read(cgroups / "memory/memory.limit_in_bytes")
    if not text.isdigit() or int(text) >= 1 << 60:  # version 1 writes a number near 2^63 for none
        return None
    return int(text) // _MB


def _check_int8(machine: MachineFacts) -> Check:
    found = machine.int8_instructions
    if found is None:
        return ok("int8", "instructions for int8 cannot be read on this system")
    if found:
        return ok("int8", f"instructions for int8: {', '.join(found)}")
    return warning(
        "int8",
        "no instructions for int8 (AVX512-VNNI, AVX-VNNI, AMX, arm dotprod)",
        "int8 models run, more slowly and with slightly other probabilities; `guardrail bench` measures this machine",
    )


def _check_cores(machine: MachineFacts) -> Check:
    limit = machine.cpu_limit
    if limit is not None and limit < machine.cores:
        return warning(
            "cores",
            f"{machine.cores} cores are seen, the container may use {limit:g}",
            f"give --threads {max(1, int(limit))}: more threads than the limit are held up",
        )
    return ok("cores", f"{machine.cores} cores")


def _check_memory(machine: MachineFacts) -> Check:
    if machine.memory_free_mb is None:
        return ok("memory", "free memory cannot be read on this system")
    told = f"{machine.memory_free_mb} MB free of {machine.memory_total_mb} MB"
    if machine.memory_free_mb < _LITTLE_MB:
        return warning(
            "memory", told, "free some, or take a machine with more; docs/performance.md has what models take"
        )
    return ok("memory", told)


def _int8_instructions() -> tuple[str, ...] | None:
    if sys.platform == "darwin":
        return _mac_instructions()
    return int8_flags(_read(Path("/proc/cpuinfo")))


def _mac_instructions() -> tuple[str, ...] | None:
    """Ask sysctl, which has names for arm64's only."""
    if platform.machine() != "arm64":
        return None
    found = []
    for key, name in _MAC_FLAGS.items():
        try:
            done = subprocess.run([_SYSCTL, "-n", key], capture_output=True, text=True, check=False, timeout=_ANSWER_S)
        except (OSError, subprocess.TimeoutExpired):
            return None
        found += [name] if done.stdout.strip() == "1" else []
    return tuple(found)


def _memory_mb() -> tuple[int | None, int | None]:
    """Return all and free memory of the machine, in 10^6 bytes; None where they cannot be read."""
    sizes = {
        key: int(value.split()[0]) * 1024 // _MB
        for key, _, value in (line.partition(":") for line in _read(Path("/proc/meminfo")).splitlines())
        if value.split()[1:] == ["kB"]
    }
    total = sizes.get("MemTotal")
    if total is None and "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):  # macOS
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _MB
    return total, sizes.get("MemAvailable")


def _read(path: Path) -> str:
    """Return a small file's text without spaces around it; empty where there is none."""
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
