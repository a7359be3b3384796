"""System call numbers for the two architectures that the sandbox knows, and a raw ``syscall`` through ctypes."""

from __future__ import annotations

import ctypes
import os
from typing import Any

X86_64, AARCH64 = "x86_64", "aarch64"
AUDIT_ARCH = {X86_64: 0xC000003E, AARCH64: 0xC00000B7}

DENIED: dict[str, tuple[int | None, int | None]] = {
    # network: socketpair stays, asyncio needs it and it reaches nobody
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242),
    # processes other than threads of this one
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "setsid": (112, 157), "setpgid": (109, 154),
    # reaching into other processes of the same user
    "ptrace": (101, 117), "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "kcmp": (312, 272), "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274), "sched_setparam": (142, 118), "sched_setscheduler": (144, 119),
    "migrate_pages": (256, 238), "move_pages": (279, 239),
    # limits, and timers that send a signal of choice: an early SIGKILL would look like one from outside
    "timer_create": (222, 107), "io_setup": (206, 0), "mq_notify": (244, 184),
    # identity and namespaces
    "setuid": (105, 146), "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143),
    "setresuid": (117, 147), "setresgid": (119, 149), "setgroups": (116, 159), "setfsuid": (122, 151),
    "setfsgid": (123, 152), "capset": (126, 91), "personality": (135, 92), "unshare": (272, 97),
    "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "statmount": (457, 457),
    "listmount": (458, 458),
    # memory that no rlimit counts, or that outlives the process
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196),
    "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    # file metadata, which Landlock does not guard
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "truncate": (76, 45), "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    "fanotify_init": (300, 262), "inotify_init": (253, None), "inotify_init1": (294, 26),
    # large kernel surfaces that no solution needs
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "acct": (163, 89), "quotactl": (179, 60), "quotactl_fd": (443, 443), "syslog": (103, 116),
    "vhangup": (153, 58), "sethostname": (170, 161), "setdomainname": (171, 162), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266), "seccomp": (317, 277),
    "modify_ldt": (154, None), "sync": (162, 81), "syncfs": (306, 267),
}  # fmt: skip
"""Answered with EPERM: name -> (x86_64, aarch64); ``None`` where the architecture has no such call."""

CLONE = {X86_64: 56, AARCH64: 220}
CLONE3 = 435
PRLIMIT64 = {X86_64: 302, AARCH64: 261}
SETRLIMIT = {X86_64: 160, AARCH64: 164}
PRCTL = {X86_64: 157, AARCH64: 167}
FCNTL = {X86_64: 72, AARCH64: 25}
IOCTL = {X86_64: 16, AARCH64: 29}
CAPSET = {X86_64: 126, AARCH64: 91}
UNSHARE = {X86_64: 272, AARCH64: 97}
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def architecture() -> str:
    """``x86_64`` or ``aarch64`` of a 64-bit process; raises OSError for any other, whose numbers are not known here."""
    machine = {"amd64": X86_64, "arm64": AARCH64}.get(os.uname().machine.lower(), os.uname().machine.lower())
    if machine not in AUDIT_ARCH or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise OSError(f"no system call table for {machine!r}")
    return machine


def denied_numbers(machine: str) -> list[int]:
    """The numbers of :data:`DENIED` on ``machine``."""
    column = 0 if machine == X86_64 else 1
    numbers = (pair[column] for pair in DENIED.values())
    return [number for number in numbers if number is not None]


def syscall(number: int, *arguments: Any) -> int:
    """Result of the raw system call; raises OSError with its errno."""
    result = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"system call {number}: {os.strerror(code)}")
    return result


def prctl(option: int, *arguments: Any) -> None:
    """``prctl(2)``; raises OSError."""
    padded = [*arguments, 0, 0, 0, 0][:4]
    if _libc.prctl(option, *[ctypes.c_ulong(a) if isinstance(a, int) else a for a in padded]) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl {option}: {os.strerror(code)}")
