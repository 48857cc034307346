"""Which system calls a program that reads and prints has no use for, as a filter of the kernel's (seccomp, in BPF)."""

import platform
import struct
import sys

from guardrail.errors import ConfigurationError

REFUSED: dict[str, tuple[int | None, int | None]] = {
    "fork": (57, None), "vfork": (58, None), "socket": (41, 198), "socketpair": (53, 199),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "kcmp": (312, 272), "shmget": (29, 194), "shmat": (30, 196),
    "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180), "memfd_create": (319, 279),
    "memfd_secret": (447, 447), "userfaultfd": (323, 282), "unshare": (272, 97), "setns": (308, 268),
    "mount": (165, 40), "umount2": (166, 39), "chroot": (161, 51), "pivot_root": (155, 41), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "fanotify_init": (300, 262), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "bpf": (321, 280), "perf_event_open": (298, 241),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "quotactl": (179, 60),
    "personality": (135, 92), "syslog": (103, 116), "sethostname": (170, 161), "setdomainname": (171, 162),
    "settimeofday": (164, 170), "adjtimex": (159, 171), "iopl": (172, None), "ioperm": (173, None),
    "modify_ldt": (154, None),
}  # fmt: skip
"""Call to its numbers on x86-64 and on arm64; None where there is no such call. New processes would escape the bound of
memory, sockets reach what listens outside, and what is shared or sent through the kernel is counted for nobody."""

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the numbers, and what the kernel calls the machine."""

_CLONE, _CLONE3 = (56, 220), 435
_CLONE_THREAD, _X32_BIT = 0x10000, 0x40000000
_ALLOW, _KILL, _EPERM, _ENOSYS = 0x7FFF0000, 0x80000000, 0x50001, 0x50026
_LOAD, _IS, _AT_LEAST, _HAS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
"""Offsets in what the kernel shows the filter."""


def filter_for(machine: str = "") -> bytes:
    """Return the filter, 8 bytes a step: refused calls fail with EPERM, `clone` too unless it starts a thread.

    Args:
        machine: as `platform.machine()` names it; empty for this one.

    Raises:
        ConfigurationError: the numbers of its calls are not known here.
    """
    machine = machine or platform.machine()
    if machine not in _MACHINES or sys.byteorder != "little":
        raise ConfigurationError(f"no sandbox for machines of kind {machine}", hint="x86_64 and aarch64 have one")
    column, architecture = _MACHINES[machine]
    numbers = sorted(one for pair in REFUSED.values() if (one := pair[column]) is not None)
    steps = [
        # another machine's calls, such as 32-bit ones, have other numbers: the filter would be blind to them
        (_LOAD, 0, 0, _ARCHITECTURE), (_IS, 1, 0, architecture), (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER), (_AT_LEAST, 0, 1, _X32_BIT), (_RETURN, 0, 0, _KILL),
        (_IS, 0, 3, _CLONE[column]), (_LOAD, 0, 0, _FIRST_ARGUMENT), (_HAS, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _EPERM), (_LOAD, 0, 0, _NUMBER),
        # its flags lie in memory, where a filter cannot look; C libraries then take `clone`
        (_IS, 0, 1, _CLONE3), (_RETURN, 0, 0, _ENOSYS),
    ]  # fmt: skip
    for number in numbers:
        steps += [(_IS, 0, 1, number), (_RETURN, 0, 0, _EPERM)]
    return b"".join(struct.pack("HBBI", *step) for step in (*steps, (_RETURN, 0, 0, _ALLOW)))
