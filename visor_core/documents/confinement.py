"""What the kernel refuses a document worker, beside its limits of memory and time.

Landlock (Linux 5.13 and later) refuses every write to the file system, starting programs, TCP, and signals and abstract
sockets to others, as far as the kernel knows these; a seccomp filter (x86-64, arm64) refuses sockets, programs, other
processes' memory, and the parts of the kernel that a parser has no use for. Nothing is refused to read: a worker opens
documents, fonts and libraries wherever they lie. What converts a document with a program of its own may start that,
write into a folder of its own, and open sockets of its own machine that nobody else has. Where the kernel offers
neither, the worker's own refusal of network calls is all there is. Sources: landlock(7), seccomp(2), and the kernel's
tables of system calls.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from pathlib import Path

LANDLOCK, SECCOMP = "landlock", "seccomp"
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""Landlock's system calls, the same on every architecture."""
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_EXECUTE, _WRITE = 1 << 0, 1 << 1
_CHANGES = _EXECUTE | _WRITE | sum(1 << bit for bit in range(4, 13))
"""Starting programs, writing to files, removing and making files, folders, links, sockets and devices."""
_MAKE_SOCKET = 1 << 9
_LATER = ((2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
"""By the version of Landlock that brought them: moving between folders, truncating, controlling devices."""
_TCP, _SCOPES = 0b11, 0b11
"""Binding and connecting (version 4); abstract sockets and signals to processes outside (version 6)."""
_REFUSED = {
    "x86_64": (
        0xC000003E,
        # socket, bind, listen, accept, accept4, execve, kill
        (41, 49, 50, 43, 288, 59, 62),
        # connect, execveat, ptrace, process_vm_readv and _writev, tkill, rt_sigqueueinfo
        (42, 322, 101, 310, 311, 200, 129),
        # add_key, request_key, keyctl, bpf, perf_event_open, userfaultfd, mount, umount2, pivot_root, chroot, setns,
        # unshare, init_module, finit_module, kexec_load, open_by_handle_at
        (248, 249, 250, 321, 298, 323, 165, 166, 155, 161, 308, 272, 175, 313, 246, 304),
    ),
    "aarch64": (
        0xC00000B7,
        (198, 200, 201, 202, 242, 221, 129),
        (203, 281, 117, 270, 271, 130, 138),
        (217, 218, 219, 280, 241, 282, 40, 39, 41, 51, 268, 97, 105, 273, 104, 265),
    ),
}
"""By machine: what the kernel calls its architecture, and the numbers of refused system calls, first those that a
program needs which is started in turn."""
_NEW = (424, 425, 426, 427, 434, 438)
"""pidfd_send_signal, io_uring (3), pidfd_open, pidfd_getfd: numbered alike everywhere."""


def confine(folder: Path | None = None) -> list[str]:
    """Have the kernel refuse this process, for good, what reading a document does not need; what is in force now.

    Args:
        folder: where it may write; then it may start programs as well, which inherit the rest.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform != "linux" or libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        return []
    return [name for name, take in ((LANDLOCK, _landlock), (SECCOMP, _seccomp)) if take(libc, folder)]


def _landlock(libc: ctypes.CDLL, folder: Path | None) -> bool:
    """Refuse changes to files outside a folder; whether the kernel has Landlock.

    Raises:
        OSError: if it has, and does not take the rules.
    """
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    handled = _CHANGES | sum(right for since, right in _LATER if version >= since)
    rights = struct.pack("<QQQ", handled, _TCP if version >= 4 else 0, _SCOPES if version >= 6 else 0)
    rights = rights[: 24 if version >= 6 else 16 if version >= 4 else 8]
    rules = _checked(libc.syscall(_CREATE_RULESET, rights, ctypes.c_size_t(len(rights)), 0))
    allowed = {os.devnull: _WRITE}
    if folder is not None:
        # LibreOffice tells others of itself by a socket under /tmp, whatever TMPDIR says, and gives up without.
        allowed |= {str(folder): handled & ~_EXECUTE, "/tmp": _MAKE_SOCKET, "/": _EXECUTE}
    try:
        for path, rights_there in allowed.items():
            _allow(libc, rules, path, rights_there)
        _checked(libc.syscall(_RESTRICT_SELF, rules, 0))
    finally:
        os.close(rules)
    return True


def _allow(libc: ctypes.CDLL, rules: int, path: str, rights: int) -> None:
    """Add a rule of Landlock: what is allowed under a path, or with a file."""
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        _checked(libc.syscall(_ADD_RULE, rules, 1, struct.pack("<Qi", rights, place), 0))
    finally:
        os.close(place)


def _seccomp(libc: ctypes.CDLL, folder: Path | None) -> bool:
    """Refuse system calls; whether the kernel filters them, and their numbers are known here.

    Raises:
        OSError: if it does, and does not take the filter.
    """
    if platform.machine() not in _REFUSED:
        return False
    architecture, needed, *groups = _REFUSED[platform.machine()]
    refused = [*(() if folder else needed), *(number for group in (*groups, _NEW) for number in group)]  # type: ignore
    program = _program(architecture, refused, local_only=needed[0] if folder else None)  # type: ignore
    steps = ctypes.create_string_buffer(program, len(program))
    told = struct.pack("@HP", len(program) // 8, ctypes.addressof(steps))
    if libc.prctl(_SET_SECCOMP, _FILTER, told, 0, 0):
        if ctypes.get_errno() in (errno.EINVAL, errno.ENOSYS):  # a kernel built without filters
            return False
        _checked(-1)
    return True


def _program(architecture: int, refused: list[int], local_only: int | None) -> bytes:
    """The filter, a classic BPF program over (number, architecture, arguments): refused calls fail with EPERM, and all
    of another architecture, or of x86-64's 32-bit numbers, kill the process.

    `local_only` is the number of `socket` where that is allowed for sockets of the machine itself (AF_UNIX).
    """
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06
    allow, kill, fail = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM

    def step(code: int, k: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("<HBBI", code, yes, no, k)

    local = []
    if local_only is not None:
        local = [step(equal, local_only, 0, 4), step(load, 16), step(equal, 1, 0, 1), step(answer, allow)]
        local.append(step(answer, fail))
    checks = [step(equal, number, len(refused) - place) for place, number in enumerate(refused)]
    return b"".join(
        [
            step(load, 4),
            step(equal, architecture, 1, 0),
            step(answer, kill),
            step(load, 0),
            step(at_least, 0x40000000, 0, 1),
            step(answer, kill),
            *local,
            *checks,
            step(answer, allow),
            step(answer, fail),
        ]
    )


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"a document worker cannot be confined: {os.strerror(number)}")
    return result
