"""Runs one Python program shut in, as a program of its own: `python -I confined.py < job.json > outcome.json`.

The program gets a user, process, network, IPC and mount namespace of its own: no network, no file but the interpreter
and the system's libraries, read-only, and a small folder in memory. A seccomp filter takes system calls away, limits of
resources bind the rest. Anything that cannot be set up is an error, and the program is not run. Only the standard
library is used here, and nothing of this package: docs/abilities.md says what holds, and what does not.
"""

import ctypes
import fcntl
import json
import os
import resource
import select
import shutil
import signal
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

NOBODY = 65534
"""User that a run started by root becomes: limits of processes do not bind root."""

INSIDE_ID = 1000
"""User and group inside; not 0, so that starting the program drops all capabilities."""

WORK = "/work"
_ROOT = "/tmp"  # noqa: S108  # a folder that is everywhere: what is mounted on it is seen by the program alone
_KEPT_BYTES = 4000
"""Of the end of what is written to stderr."""

_READ_BYTES = 65536
_LAST_WAIT_S = 60.0
_NEW_USER, _NEW_NS, _NEW_PID, _NEW_NET = 0x10000000, 0x20000, 0x20000000, 0x40000000
_NEW_IPC, _NEW_UTS = 0x8000000, 0x4000000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 2, 4, 0x1000, 0x4000, 0x40000, 2
_SET_PDEATHSIG, _SET_DUMPABLE, _SET_SECCOMP, _SET_NO_NEW_PRIVS, _FILTER = 1, 4, 22, 38, 2
_HERE, _AT_RECURSIVE, _ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = -100, 0x8000, 1, 2, 4
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_MOUNT_SETATTR = 442
_F_ADD_SEALS, _ALL_SEALS = 1033, 0x1 | 0x2 | 0x4 | 0x8

_libc = ctypes.CDLL(None, use_errno=True)

Job = dict[str, Any]


class SetupError(Exception):
    """The program could not be shut in."""


def main() -> None:
    """Run the job that stands on stdin, and print what came of it."""
    _call("prctl", _SET_PDEATHSIG, signal.SIGKILL)
    job: Job = json.load(sys.stdin.buffer)
    os.closerange(3, 4096)
    try:
        outcome = run(job)
    except (SetupError, OSError) as error:
        outcome = {"setup": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(outcome))


def run(job: Job) -> dict[str, Any]:
    """Return what a program printed and how it ended: `stdout`, `stderr` (its end), `ended`, `code`.

    `ended` is exited, signal, time or output; `setup` instead says why nothing was run.
    """
    folder = "" if job["isolated"] else tempfile.mkdtemp(prefix="guardrail-")
    said = _sealed(job["stdin"].encode("utf-8", "replace"))
    if job["isolated"]:
        _enter_namespaces()
    pipes = [os.pipe() for _ in range(3)]  # stdout, stderr, status
    pid = os.fork()
    if not pid:
        _first(job, folder, said, [write for _, write in pipes])
    for _, write in pipes:
        os.close(write)
    try:
        return _outcome(*_watch(pid, [read for read, _ in pipes], job["limits"]), is_first=job["isolated"])
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _watch(pid: int, pipes: list[int], limits: dict[str, Any]) -> tuple[list[bytearray], int, str]:
    """Read what is printed until the program has ended, or has to be ended; all of it dies with its first process.

    Returns:
        what came through the pipes, the wait status of the first process, and why it was ended; empty when it was not.
    """
    texts, deadline, cut = {fd: bytearray() for fd in pipes}, time.monotonic() + limits["wall_s"], ""
    handle, poller = os.pidfd_open(pid), select.poll()
    still = {*pipes, handle}
    for fd in still:
        poller.register(fd, select.POLLIN | select.POLLHUP)
    while still:
        ready = poller.poll(max(deadline - time.monotonic(), 0.0) * 1000)
        if time.monotonic() >= deadline:  # also of one that never stops printing
            if cut:
                raise SetupError("the program does not die")
            cut, deadline = "time", time.monotonic() + _LAST_WAIT_S
            os.kill(pid, signal.SIGKILL)
        for fd, _ in ready:
            data = b"" if fd == handle else os.read(fd, _READ_BYTES)
            if not data:
                poller.unregister(fd)
                still.remove(fd)
            else:
                texts[fd] += data[: limits["output_bytes"] + 1 - len(texts[fd])] if fd == pipes[0] else data
            if fd == pipes[1]:
                del texts[fd][:-_KEPT_BYTES]
        if len(texts[pipes[0]]) > limits["output_bytes"] and not cut:
            cut, deadline = "output", time.monotonic() + _LAST_WAIT_S
            os.kill(pid, signal.SIGKILL)
    return [texts[fd] for fd in pipes], os.waitpid(pid, 0)[1], cut


def _outcome(texts: list[bytearray], status: int, cut: str, *, is_first: bool) -> dict[str, Any]:
    told = json.JSONDecoder().raw_decode(texts[2].decode())[0] if texts[2] else {}  # who fails to start tells it first
    if "setup" in told:
        return told
    if is_first:  # it ended well itself, and tells how the program did; if not, it was killed, by us or for memory
        status = told.get("status", signal.SIGKILL)
    has_exited = os.WIFEXITED(status)
    ended, code = ("exited", os.WEXITSTATUS(status)) if has_exited else ("signal", os.WTERMSIG(status))
    if ended == "signal" and code == signal.SIGXCPU:
        ended = "time"
    stdout, stderr = (bytes(text).decode("utf-8", "replace") for text in texts[:2])
    return {"stdout": stdout, "stderr": stderr, "ended": cut or ended, "code": code}


def _first(job: Job, folder: str, said: int, fds: list[int]) -> NoReturn:
    """Be the first process inside: set everything up, start the program, and take all along when it ends."""
    try:
        _call("prctl", _SET_PDEATHSIG, signal.SIGKILL)
        if job["isolated"]:
            _change_root(job)
        for name, text in job["files"].items():
            Path(folder or WORK, name).write_bytes(text.encode("utf-8", "replace"))
        if job["isolated"]:  # without a process namespace there is no first process that could take all along
            pid = os.fork()
            if pid:
                os.close(fds[0])
                os.close(fds[1])
                os.write(fds[2], json.dumps({"status": os.waitpid(pid, 0)[1]}).encode())
                os._exit(0)
        _start(job, folder or WORK, said, fds)
    except BaseException as error:  # noqa: BLE001  # whatever it is: this process must not go on as its parent does
        os.write(fds[2], json.dumps({"setup": f"{type(error).__name__}: {error}"}).encode())
    os._exit(70)


def _start(job: Job, work: str, said: int, fds: list[int]) -> NoReturn:
    """Become the program."""
    os.chdir(work)
    for fd, to in ((said, 0), (fds[0], 1), (fds[1], 2)):
        os.dup2(fd, to)
    os.setsid()
    _bind(job["limits"])
    _call("prctl", _SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    steps = bytes.fromhex(job["filter"])
    code = ctypes.create_string_buffer(steps, len(steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps) // 8, ctypes.addressof(code)))
    _call("prctl", _SET_SECCOMP, _FILTER, ctypes.addressof(program), 0, 0)
    environment = {"PATH": "/usr/bin:/bin", "HOME": work, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
    os.execve(job["argv"][0], job["argv"], environment)  # noqa: S606  # no shell is what is wanted


def _bind(limits: dict[str, Any]) -> None:
    """Set the limits of resources, which can only be lowered from now on."""
    most = {
        resource.RLIMIT_AS: limits["memory_bytes"], resource.RLIMIT_FSIZE: limits["folder_bytes"],
        resource.RLIMIT_NOFILE: limits["files"], resource.RLIMIT_NPROC: limits["threads"], resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0, resource.RLIMIT_MSGQUEUE: 0, resource.RLIMIT_CPU: limits["cpu_s"],
    }  # fmt: skip
    for name, value in most.items():
        hard = resource.getrlimit(name)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        has_room = name == resource.RLIMIT_CPU and hard in (resource.RLIM_INFINITY, max(hard, bound + 1))
        resource.setrlimit(name, (bound, bound + has_room))  # SIGXCPU comes first, which tells that it was time


def _enter_namespaces() -> None:
    """Leave the network, the processes and the users outside; one user is known inside, who may do nothing outside."""
    user, group = os.geteuid(), os.getegid()
    helper, (asked, ask) = 0, os.pipe()
    if user == 0:  # only who stays outside may name another user than oneself
        os.setgroups([])
        user = group = NOBODY
        helper = os.fork()
        if not helper:
            try:
                os.close(ask)
                if os.read(asked, 1):  # nothing comes when there is no namespace: then it must not stay
                    _write_maps(f"/proc/{os.getppid()}", user, group)
                os._exit(0)
            finally:
                os._exit(1)
    _call("unshare", _NEW_USER | _NEW_PID | _NEW_NET | _NEW_IPC | _NEW_UTS)
    if helper:
        os.write(ask, b".")
        if os.waitpid(helper, 0)[1]:
            raise SetupError("the user's map cannot be written")
    else:
        _write_maps("/proc/self", user, group)
    os.close(asked)
    os.close(ask)


def _write_maps(process: str, user: int, group: int) -> None:
    for name, text in (("setgroups", "deny"), ("uid_map", f"{INSIDE_ID} {user} 1"),
                       ("gid_map", f"{INSIDE_ID} {group} 1")):  # fmt: skip
        fd = os.open(f"{process}/{name}", os.O_WRONLY)
        os.write(fd, text.encode())
        os.close(fd)


def _change_root(job: Job) -> None:
    """Exchange all files for the few that a program needs."""
    _call("unshare", _NEW_NS)
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    # opened as who we were outside, root perhaps, whose folder the interpreter may lie in
    sources = [
        (path, os.open(path, os.O_PATH), Path(path).readlink() if Path(path).is_symlink() else None)
        for path in job["paths"]
        if Path(path).exists()
    ]
    os.setresgid(INSIDE_ID, INSIDE_ID, INSIDE_ID)
    os.setresuid(INSIDE_ID, INSIDE_ID, INSIDE_ID)
    _call("prctl", _SET_DUMPABLE, 1)  # else /proc/self/fd would belong to somebody else
    _mount("tmpfs", _ROOT, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=755")
    for source in sources:
        _show(*source)
    work = Path(_ROOT, "work")
    work.mkdir()
    folder = f"size={job['limits']['folder_bytes']},nr_inodes=256,mode=700"
    _mount("tmpfs", str(work), "tmpfs", _MS_NOSUID | _MS_NODEV, folder)
    os.chdir(_ROOT)
    _system(_PIVOT_ROOT[job["machine"]], b".", b".")
    _call("umount2", b".", _MNT_DETACH)
    os.chdir("/")
    _fix("/", 0)


def _show(path: str, fd: int, link: Path | None) -> None:
    """Let a file or folder of outside stand at the same place inside, read-only; a link stays a link."""
    place = Path(_ROOT + path)
    place.parent.mkdir(parents=True, exist_ok=True)
    if link:
        place.symlink_to(link)
        return
    if Path(f"/proc/self/fd/{fd}").is_dir():
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.touch()
    _mount(f"/proc/self/fd/{fd}", str(place), "", _MS_BIND | _MS_REC)
    _fix(str(place), _AT_RECURSIVE, is_device=path.startswith("/dev/"))


def _fix(place: str, flags: int, *, is_device: bool = False) -> None:
    """Make a mount read-only, without set-user-id programs; only devices that were named stay devices."""
    attributes = struct.pack("QQQQ", _ATTR_RDONLY | _ATTR_NOSUID | (0 if is_device else _ATTR_NODEV), 0, 0, 0)
    _system(_MOUNT_SETATTR, _HERE, place.encode(), flags, attributes, len(attributes))


def _sealed(data: bytes) -> int:
    """Return a descriptor of a file in memory that nobody can write to any more."""
    fd = os.memfd_create("stdin", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, _F_ADD_SEALS, _ALL_SEALS)
    return fd


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    _call("mount", source.encode(), target.encode(), kind.encode() or None, flags, options.encode() or None)


def _call(name: str, *arguments: Any) -> None:
    """Call a function of the C library that returns 0 when all is well."""
    wide = [ctypes.c_ulong(one) if isinstance(one, int) else one for one in arguments]
    if getattr(_libc, name)(*wide) != 0:
        raise SetupError(f"{name}: {os.strerror(ctypes.get_errno())}")


def _system(number: int, *arguments: Any) -> None:
    wide = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    if _libc.syscall(ctypes.c_long(number), *wide) != 0:
        raise SetupError(f"system call {number}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main()
