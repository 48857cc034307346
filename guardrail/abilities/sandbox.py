"""Runs Python programs that a model wrote, shut in; see `confined.py`. Where the kernel does not allow it, nothing is
run.
"""

import asyncio
import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from guardrail.abilities.seccomp import filter_for
from guardrail.errors import ConfigurationError, EngineError

Ended = Literal["exited", "signal", "time", "output"]

_PROGRAM = Path(__file__).with_name("confined.py")
_SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/null", "/dev/urandom")
"""What of the system a program sees, read-only, besides the interpreter."""

_CHECK = "import socket\ntry:\n    socket.socket()\nexcept OSError:\n    print('shut in')"
_MIB = 2**20
_SLACK_S = 30.0
"""Seconds that setting up may take, before the launcher itself is given up. Ours."""


@dataclass(frozen=True)
class Limits:
    """What a program may use; all numbers are ours but the seconds, which are LiveCodeBench's for one test.

    Attributes:
        cpu_s: seconds of computing.
        wall_s: seconds altogether; more, since other programs run too.
        memory_mib: address space.
        folder_mib: of its folder, and of one file.
        files: open at once.
        threads: at once.
        output_mib: that it may print.
    """

    cpu_s: int = 6
    wall_s: int = 20
    memory_mib: int = 2048
    folder_mib: int = 16
    files: int = 64
    threads: int = 16
    output_mib: int = 16

    def to_json(self) -> dict[str, int]:
        """Return them as the launcher reads them."""
        return {
            "cpu_s": self.cpu_s, "wall_s": self.wall_s, "memory_bytes": self.memory_mib * _MIB,
            "folder_bytes": self.folder_mib * _MIB, "files": self.files, "threads": self.threads,
            "output_bytes": self.output_mib * _MIB,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a program.

    Attributes:
        stdout: what it printed.
        stderr: the end of what it complained.
        ended: how: by itself, by a signal, or because its time was over or it had printed too much.
        code: exit code, or the number of the signal.
    """

    stdout: str
    stderr: str
    ended: Ended
    code: int

    @property
    def is_well(self) -> bool:
        """Whether the program came to its end without an error."""
        return self.ended == "exited" and self.code == 0


class Sandbox:
    """Runs programs. For one event loop."""

    def __init__(self, limits: Limits | None = None, *, is_isolated: bool = True, parallel: int = 0) -> None:
        """Prepare; nothing is run, and nothing checked yet.

        Args:
            limits: of each program.
            is_isolated: False leaves the namespaces out: such a program can read every file that we can, and is not
                safe to run unless this whole machine is a sandbox.
            parallel: programs at once; 0: as many as there are processors.

        Raises:
            ConfigurationError: there is no sandbox for this kind of machine.
        """
        if sys.platform != "linux":
            raise ConfigurationError("programs of models are run on Linux only", hint="use a container or a machine")
        self._limits, self._is_isolated, self._filter = limits or Limits(), is_isolated, filter_for().hex()
        self._places = asyncio.Semaphore(parallel or os.cpu_count() or 1)
        self._python = os.path.realpath(getattr(sys, "_base_executable", sys.executable))

    @property
    def identity(self) -> dict[str, Any]:
        """What programs are run by, for the record."""
        kind = "namespaces and seccomp" if self._is_isolated else "UNSAFE: seccomp and limits only"
        return {"sandbox": kind, "python": platform.python_version(), **vars(self._limits)}

    async def check(self) -> None:
        """Pass if programs can be run, and are shut in.

        Raises:
            ConfigurationError: they cannot.
        """
        outcome = await self.run({"main.py": _CHECK}, "")
        if not outcome.is_well or outcome.stdout.strip() != "shut in":
            raise ConfigurationError(
                f"the sandbox does not work here: {outcome.ended} {outcome.code}, {outcome.stderr[-300:]!r}",
                hint="take an interpreter that is installed under /usr, or another machine",
            )

    async def run(self, files: Mapping[str, str], stdin: str) -> Outcome:
        """Return what comes of the program `main.py`.

        Args:
            files: that lie in its folder, by their plain names; `main.py` is one of them.
            stdin: what it reads.

        Raises:
            ConfigurationError: the kernel does not let it be shut in; it was not run.
            EngineError: the launcher failed.
        """
        job = {
            "files": dict(files), "argv": [self._python, "-s", "-B", "main.py"], "stdin": stdin,
            "isolated": self._is_isolated, "machine": platform.machine(), "filter": self._filter,
            "paths": self._paths(), "limits": self._limits.to_json(),
        }  # fmt: skip
        async with self._places:
            told = await self._launch(json.dumps(job).encode())
        if "setup" in told:
            raise ConfigurationError(
                f"programs cannot be shut in on this machine ({told['setup']})",
                hint="its kernel, or the container around, forbids user namespaces: use a virtual machine, or"
                " --unsafe-sandbox on one that holds nothing and can be thrown away",
            )
        return Outcome(told["stdout"], told["stderr"], told["ended"], told["code"])

    async def _launch(self, job: bytes) -> dict[str, Any]:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            self._python, "-I", str(_PROGRAM), stdin=pipe, stdout=pipe, stderr=pipe, env={}
        )
        try:
            async with asyncio.timeout(self._limits.wall_s + _SLACK_S):
                said, error = await process.communicate(job)
        except TimeoutError:
            raise EngineError("the sandbox's launcher did not answer") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        try:
            found: dict[str, Any] = json.loads(said)
        except ValueError:
            raise EngineError(f"the sandbox's launcher failed with {process.returncode}: {error[-300:]!r}") from None
        return found

    def _paths(self) -> list[str]:
        """Return what is shown inside; folders that lie in others of them once."""
        folders = [sys.base_prefix, str(Path(self._python).parent)]
        inner = [one for one in folders if not any(one.startswith(f"{other}/") for other in (*_SYSTEM, *folders))]
        return list(dict.fromkeys([*_SYSTEM, *inner]))
