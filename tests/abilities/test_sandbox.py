"""Programs of models are shut in: what they try to reach is not there, and what they use is bounded."""

import asyncio
import json
import os
import platform
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from guardrail.abilities import confined
from guardrail.abilities.sandbox import Limits, Outcome, Sandbox
from guardrail.abilities.seccomp import REFUSED, filter_for
from guardrail.errors import ConfigurationError

SYSTEM_PYTHON = Path("/usr/bin/python3")
LIMITS = Limits(cpu_s=20, wall_s=120, memory_mib=256, folder_mib=2, files=32, threads=8, output_mib=1)


def may_unshare() -> bool:
    """Whether this kernel gives namespaces, asked without the sandbox: where it does, the sandbox must work."""
    code = "import ctypes; raise SystemExit(ctypes.CDLL(None).unshare(0x10000000 | 0x40000000 | 0x20000) != 0)"
    return subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not may_unshare(), reason="this kernel, or the container around, gives no namespaces"
)


def run(code: str, stdin: str = "", *, limits: Limits = LIMITS, is_isolated: bool = True) -> Outcome:
    """Run a program in a sandbox."""
    return asyncio.run(Sandbox(limits, is_isolated=is_isolated).run({"main.py": code}, stdin))


def tried(steps: str, *, is_isolated: bool = True, prelude: str = "") -> set[str]:
    """Run steps, one a line as `name: expression`; return the names of those that did not fail."""
    program = (
        f"import os, sys, ctypes, signal, resource, pathlib\nlibc = ctypes.CDLL(None, use_errno=True)\n{prelude}\n"
    )
    for line in filter(None, map(str.strip, steps.splitlines())):
        name, _, expression = line.partition(": ")
        shown = name.replace(" ", "_")
        program += f"try:\n    found = {expression}\n"
        program += f"    if found not in (set(), -1) and found is not False: print({shown!r})\n"
        program += "except BaseException as error:\n    pass\n"
    outcome = run(f"{program}print('end')", is_isolated=is_isolated)
    *worked, end = outcome.stdout.split()
    assert end == "end", outcome
    return set(worked)


def test_a_program_reads_and_prints() -> None:
    """What is normal works: input, output, threads, many modules, files of its own, its exit code."""
    code = (
        "import sys, threading, math, decimal, random, sqlite3\n"
        "thread = threading.Thread(target=lambda: print(input()))\n"
        "thread.start(); thread.join()\nopen('own', 'w').write('x')\n"
        "print(open('own').read(), file=sys.stderr)\nexit(3)"
    )
    outcome = run(code, "given\n")
    assert (outcome.stdout, outcome.stderr, outcome.ended, outcome.code) == ("given\n", "x\n", "exited", 3)
    assert not outcome.is_well


# long: most of it is the program that tries to get out
def test_nothing_outside_can_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file, no process, no network, no secret, no way to more rights; one program tries them all."""
    secret = tmp_path / "secret"
    secret.write_text("key")
    monkeypatch.setenv("GUARDRAIL_SECRET", "key")
    beside = os.path.relpath(sys.base_prefix, Path.home()).partition(os.sep)[0]  # the interpreter may lie in there
    with socket.create_server(("127.0.0.1", 0)) as listening:
        worked = tried(
            f"""
            control: 1
            read a file outside: open({str(secret)!r}).read()
            read this test: open({__file__!r}).read()
            list the home: set(os.listdir(HOME)) - {{BESIDE}}
            passwords: open("/etc/passwd").read()
            processes: os.listdir("/proc/self")
            devices: set(os.listdir("/dev")) - {{"null", "urandom"}}
            variable: os.environ["GUARDRAIL_SECRET"]
            other variables: set(os.environ) - {{"PATH", "HOME", "LANG", "PYTHONHASHSEED"}}
            write outside: open("/outside", "w")
            write into the system: open("/usr/outside", "w")
            write into Python: open(os.path.join(sys.base_prefix, "outside"), "w")
            connect: __import__("socket").create_connection(("127.0.0.1", {listening.getsockname()[1]}), 2)
            local socket: __import__("socket").socket(1)
            pair of sockets: __import__("socket").socketpair()
            kill the parent: os.kill(os.getppid(), 9) is None
            kill all: os.kill(-1, 9) is None
            kill by tgkill: libc.syscall(234, os.getppid(), os.getppid(), 9)
            fork: os.fork()
            spawn: __import__("subprocess").run(["/bin/true"]).returncode + 1
            clone without a thread: libc.syscall(56, 17, 0, 0, 0, 0)
            clone3: libc.syscall(435, 0, 0)
            become root: os.setuid(0) is None
            ptrace: libc.ptrace(16, os.getppid(), 0, 0)
            ptrace me: libc.ptrace(0, 0, 0, 0)
            user namespace: libc.unshare(0x10000000)
            mount: libc.mount(b"none", b"/work", b"tmpfs", 0, None)
            unmount: libc.umount2(b"/usr", 2)
            chroot: os.chroot("/work") is None
            shared memory: libc.shmget(1, 4096, 0o1600)
            file in memory: os.memfd_create("x")
            io_uring: libc.syscall(425, 1, 0)
            bpf: libc.syscall(321, 0, 0, 0)
            keys: libc.syscall(250, 0, -3, 0)
            raise a limit: resource.setrlimit(resource.RLIMIT_CPU, (10**6, 10**6)) is None
            host name: __import__("socket").sethostname("x") is None
            written stdin: os.write(0, b"x")
            """,
            prelude=f"HOME, BESIDE = {str(Path.home())!r}, {beside!r}",
        )
    assert worked == {"control"}
    assert secret.read_text() == "key"


def test_no_descriptor_of_outside_is_left() -> None:
    """Only stdin, stdout and stderr are open."""
    code = (
        "import os\nfor fd in range(3, 1000):\n    try:\n        os.fstat(fd); print(fd)\n"
        "    except OSError:\n        pass"
    )
    assert run(code).stdout == ""


LONG = 120
"""Seconds of the clock that are enough for a second of computing, however busy the machine is."""


@pytest.mark.parametrize(
    ("code", "limits", "ended"),
    [
        ("while True: pass", Limits(cpu_s=1, wall_s=LONG), {"time"}),
        ("import time; time.sleep(1000)", Limits(wall_s=3), {"time"}),
        (
            "import signal\nsignal.signal(24, signal.SIG_IGN)\nwhile True: pass",
            Limits(cpu_s=1, wall_s=LONG),
            {"signal"},
        ),
        ("while True: print('x' * 10_000)", LIMITS, {"output"}),
        ("import sys\nwhile True: sys.stderr.write('x' * 10_000)", Limits(wall_s=3), {"time"}),
        ("import sys, time\nwhile True: print(1, flush=True)", Limits(wall_s=3), {"time", "output"}),
        ("x = bytearray(10**9)", LIMITS, {"exited"}),
        ("import os\nwhile True: os.fork()", LIMITS, {"exited"}),
        (
            "import threading\nwhile True: threading.Thread(target=threading.Event().wait).start()",
            Limits(wall_s=5),
            {"time"},
        ),
        ("f = open('big', 'wb')\nwhile True: f.write(b'x' * 10**6)", LIMITS, {"exited"}),
        ("for i in range(10**6): open(f'f{i}', 'w').write('x')", LIMITS, {"exited"}),
        ("files = [open(f'f{i}', 'w') for i in range(100)]", LIMITS, {"exited"}),
    ],
)
def test_what_a_program_uses_is_bounded(code: str, limits: Limits, ended: set[str]) -> None:
    """Endless loops, sleep, output, memory, processes, threads, files: all end, and not well; we go on."""
    outcome = run(code, limits=limits)
    assert outcome.ended in ended
    assert not outcome.is_well
    assert len(outcome.stdout) <= limits.output_mib * 2**20 + 1
    assert len(outcome.stderr) <= 4000


def test_a_daemon_dies_with_its_program() -> None:
    """A thread that would live on, and a program that closes what it prints to: neither outlives its time."""
    outcome = run("import os, time\nos.close(1); os.close(2)\ntime.sleep(1000)", limits=Limits(wall_s=4))
    assert outcome.ended == "time"


def test_programs_die_with_who_started_them() -> None:
    """A run that is killed leaves no program behind."""
    code = (
        "import asyncio\nfrom guardrail.abilities.sandbox import Limits, Sandbox\n"
        "job = Sandbox(Limits(cpu_s=300, wall_s=300)).run({'main.py': 'import time; time.sleep(2501)'}, '')\n"
        "asyncio.run(job)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    launcher = _wait_for_child(process.pid)
    process.kill()
    process.wait()
    until = time.monotonic() + 60
    while Path(f"/proc/{launcher}/cmdline").exists() and Path(f"/proc/{launcher}/cmdline").read_bytes():
        assert time.monotonic() < until, "the launcher lives on"
        threading.Event().wait(0.05)


def _wait_for_child(pid: int) -> int:
    """Return the launcher that a process has started, once it has a child of its own."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for child in _children(pid):
            if _children(child):
                return child
        threading.Event().wait(0.05)
    raise AssertionError("no launcher was started")


def _children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user")
@pytest.mark.skipif(not SYSTEM_PYTHON.exists(), reason="nobody can run the interpreter of a root's tests")
def test_it_works_as_an_ordinary_user() -> None:
    """Nothing of it needs root: here nobody runs it, by the system's interpreter."""
    job = {
        "files": {"main.py": "import os; print(os.getuid(), os.path.exists('/etc/passwd'))"}, "stdin": "",
        "argv": [str(SYSTEM_PYTHON.resolve()), "-s", "main.py"], "isolated": True, "machine": platform.machine(),
        "filter": filter_for().hex(), "limits": LIMITS.to_json(),
        "paths": ["/usr", "/bin", "/lib", "/lib64", "/dev/null", "/dev/urandom"],
    }  # fmt: skip
    done = subprocess.run(
        [str(SYSTEM_PYTHON), "-I", "-c", Path(confined.__file__).read_text("utf-8")], input=json.dumps(job).encode(),
        capture_output=True, check=True, env={}, user=65534, group=65534, extra_groups=[], cwd="/",
    )  # fmt: skip
    assert json.loads(done.stdout)["stdout"].split() == ["1000", "False"]


def test_nothing_runs_where_namespaces_are_forbidden() -> None:
    """Fail closed: the message says why and what to do, and the program was not run."""
    code = (
        "import asyncio, ctypes, sys\nfrom guardrail.abilities.sandbox import Sandbox\n"
        "from guardrail.errors import ConfigurationError\n"
        "import struct\nsteps = [(0x20, 0, 0, 0), (0x15, 0, 1, 272), (6, 0, 0, 0x50001), (6, 0, 0, 0x7FFF0000)]\n"
        "code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *s) for s in steps))\n"
        "program = ctypes.create_string_buffer(struct.pack('HxxxxxxP', 4, ctypes.addressof(code)))\n"
        "libc = ctypes.CDLL(None)\nlibc.prctl(38, 1, 0, 0, 0)\n"
        "assert libc.prctl(22, 2, ctypes.c_ulong(ctypes.addressof(program)), 0, 0) == 0\n"
        "async def main():\n    try:\n        print(await Sandbox().run({'main.py': 'print(1)'}, ''))\n"
        "    except ConfigurationError as error:\n        print(error)\n"
        "    print((await Sandbox(is_isolated=False).run({'main.py': 'print(2)'}, '')).stdout)\n"
        "asyncio.run(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    first, second = done.stdout.strip().splitlines()[0], done.stdout.split()[-1]
    assert "cannot be shut in" in first
    assert "--unsafe-sandbox" in first
    assert second == "2"


def test_without_namespaces_the_filter_still_holds(tmp_path: Path) -> None:
    """The unsafe way keeps network, processes and signals away, but not files: it says so by its name."""
    secret = tmp_path / "secret"
    secret.write_text("key")
    worked = tried(
        f"""
        control: 1
        read a file outside: open({str(secret)!r}).read()
        connect: __import__("socket").socket()
        fork: os.fork()
        kill the parent: os.kill(os.getppid(), 9) is None
        kill by tgkill: libc.syscall(234, os.getppid(), os.getppid(), 9)
        ptrace: libc.ptrace(16, os.getppid(), 0, 0)
        """,
        is_isolated=False,
    )
    assert worked == {"control", "read_a_file_outside"}
    assert "UNSAFE" in str(Sandbox(is_isolated=False).identity["sandbox"])


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_is_whole(machine: str) -> None:
    """Eight bytes a step, no more steps than a kernel takes, and every refused number in it."""
    steps = filter_for(machine)
    assert len(steps) % 8 == 0
    assert len(steps) // 8 < 4096
    numbers = {int.from_bytes(steps[i + 4 : i + 8], "little") for i in range(0, len(steps), 8)}
    assert {pair[machine == "aarch64"] for pair in REFUSED.values()} - {None} <= numbers


def test_an_unknown_machine_has_no_sandbox() -> None:
    """Numbers of calls that are not known cannot be refused."""
    with pytest.raises(ConfigurationError, match="riscv64"):
        filter_for("riscv64")
