"""A filter over system calls, for Linux on x86_64 and aarch64: what a decoder has no use for.

A list of what is refused, not of what is allowed: C libraries of several versions decode here, and
one that learns a new harmless call must go on working. Landlock, namespaces and limits stand behind
it. Numbers: the kernel's unistd.h. Layout of the filter: seccomp(2), BPF of linux/filter.h.
"""

import ctypes
import errno
import os
import platform
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["DENIED", "FILTERED", "NUMBERS", "build_filter", "shut_system_calls"]

DENIED = {
    # name: number on x86_64, on aarch64 (None: not there)
    "socket": (41, 198), "connect": (42, 203), "accept": (43, 202), "accept4": (288, 242),
    "bind": (49, 200), "listen": (50, 201), "execve": (59, 221), "execveat": (322, 281),
    "fork": (57, None), "vfork": (58, None), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "kcmp": (312, 272), "perf_event_open": (298, 241),
    "bpf": (321, 280), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    "fanotify_init": (300, 262), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "syslog": (103, 116),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171),
    "clock_adjtime": (305, 266), "sethostname": (170, 161), "setdomainname": (171, 162),
    "personality": (135, 92), "vhangup": (153, 58), "iopl": (172, None),
    "ioperm": (173, None), "modify_ldt": (154, None), "setpriority": (141, 140),
    "sched_setscheduler": (144, 119), "sched_setparam": (142, 118),
    "sched_setattr": (314, 274), "sched_setaffinity": (203, 122), "ioprio_set": (251, 30),
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190),
    "semop": (65, 193), "semctl": (66, 191), "msgget": (68, 186), "msgsnd": (69, 189),
    "msgrcv": (70, 188), "msgctl": (71, 187), "mq_open": (240, 180), "mq_unlink": (241, 181),
    "memfd_create": (319, 279), "memfd_secret": (447, 447),
    "creat": (85, None), "truncate": (76, 45), "ftruncate": (77, 46), "fallocate": (285, 47),
    "unlink": (87, None), "unlinkat": (263, 35), "rename": (82, None), "renameat": (264, 38),
    "renameat2": (316, 276), "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None),
    "link": (86, None), "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36),
    "mknod": (133, None), "mknodat": (259, 33), "chmod": (90, None), "fchmod": (91, 52),
    "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None), "fchown": (93, 55),
    "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5),
    "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "fremovexattr": (199, 16),
}  # fmt: skip
"""Answered EPERM."""

ABSENT = {"clone3": (435, 435), "openat2": (437, 437)}
"""Answered ENOSYS: their arguments lie in memory, where a filter cannot look; the C library then
uses the older calls."""

FILTERED = {
    "open": (2, None),
    "openat": (257, 56),
    "clone": (56, 220),
    "kill": (62, 129),
    "tgkill": (234, 131),
    "prlimit64": (302, 261),
    "socketpair": (53, 199),
}
"""Allowed with some arguments only."""

NUMBERS = {**DENIED, **ABSENT, **FILTERED}

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the tables above, and AUDIT_ARCH of linux/audit.h."""

LOAD, AND, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06  # BPF
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
NUMBER_AT, ARCH_AT, ARGUMENTS_AT = 0, 4, 16  # in struct seccomp_data
X32 = 0x40000000  # the third set of calls of an x86_64 kernel
CLONE_THREAD = 0x10000
O_TMPFILE = 0o20000000
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | O_TMPFILE
PR_SET_SECCOMP, MODE_FILTER = 22, 2


@dataclass(frozen=True)
class _Instruction:
    code: int
    value: int
    if_true: int = 0  # instructions to skip
    if_false: int = 0

    def pack(self) -> bytes:
        return struct.pack("=HBBI", self.code, self.if_true, self.if_false, self.value)


def shut_system_calls() -> bool:
    """Puts the filter over this process; False where there is none for the machine.

    The process must have no_new_privs and a single thread. Raises OSError.
    """
    machine = platform.machine()
    if os.uname().sysname != "Linux" or machine not in MACHINES:
        return False
    program = b"".join(i.pack() for i in build_filter(machine, os.getpid()))
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: an unsigned short, padding, a pointer
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, MODE_FILTER, header, 0, 0) != 0:
        if ctypes.get_errno() == errno.EINVAL:  # a kernel without filters
            return False
        raise OSError(ctypes.get_errno(), "seccomp filter")
    return True


def build_filter(machine: str, pid: int) -> list[_Instruction]:
    """The BPF program for a process of that id, which may signal only itself."""
    column, arch = MACHINES[machine]
    program = [
        _Instruction(LOAD, ARCH_AT),
        _Instruction(EQUAL, arch, 1, 0),
        _Instruction(RETURN, KILL),
        _Instruction(LOAD, NUMBER_AT),
    ]
    if machine == "x86_64":
        program += [_Instruction(AT_LEAST, X32, 0, 1), _refuse(errno.EPERM)]
    for table, code in ((DENIED, errno.EPERM), (ABSENT, errno.ENOSYS)):
        for numbers in table.values():
            program += _when(numbers[column], [_refuse(code)])
    for name, checks in _filters(pid).items():
        program += _when(FILTERED[name][column], checks)
    return [*program, _Instruction(RETURN, ALLOW)]


def _filters(pid: int) -> dict[str, list[_Instruction]]:
    """Each ends with an answer."""
    return {
        "open": [*_load(1), *_allow_unless(ANY_BIT, WRITING)],
        "openat": [*_load(2), *_allow_unless(ANY_BIT, WRITING)],
        "clone": [*_load(0), *_allow_if(ANY_BIT, CLONE_THREAD)],
        "kill": [*_load(0), *_allow_if(EQUAL, pid)],
        "tgkill": [*_load(0), *_allow_if(EQUAL, pid)],
        "prlimit64": [*_load(0), *_allow_if(EQUAL, 0)],
        # asyncio's, which zarr starts; a datagram socket could send to a path
        "socketpair": [
            *_load(0),
            _Instruction(EQUAL, socket.AF_UNIX, 1, 0),
            _refuse(errno.EPERM),
            *_load(1),
            _Instruction(AND, 0xFF),
            *_allow_if(EQUAL, socket.SOCK_STREAM),
        ],
    }


def _when(number: int | None, then: Sequence[_Instruction]) -> list[_Instruction]:
    if number is None:
        return []
    return [_Instruction(EQUAL, number, 0, len(then)), *then]


def _load(argument: int) -> list[_Instruction]:
    """The low half: both machines are little-endian, and these arguments are ints."""
    return [_Instruction(LOAD, ARGUMENTS_AT + 8 * argument)]


def _allow_if(test: int, value: int) -> list[_Instruction]:
    return [
        _Instruction(test, value, 1, 0),
        _refuse(errno.EPERM),
        _Instruction(RETURN, ALLOW),
    ]


def _allow_unless(test: int, value: int) -> list[_Instruction]:
    return [
        _Instruction(test, value, 0, 1),
        _refuse(errno.EPERM),
        _Instruction(RETURN, ALLOW),
    ]


def _refuse(code: int) -> _Instruction:
    return _Instruction(RETURN, REFUSE | code)
