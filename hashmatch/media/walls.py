"""The walls of a decode worker: what the kernel refuses it for the rest of its life.

A worker raises them on itself, once, after it has imported and tried all that it needs, and before it is given the
first untrusted byte. No wall can be taken down again. None needs a privilege, so all stand for an ordinary user and
under a container's default profile. They overlap on purpose: an act is refused by at least two of them, or by
seccomp, whose list names what may be done and not what may not.

Landlock is spoken through ctypes: three system calls whose numbers are the same on every architecture. The Python
packages for it are in alpha. Seccomp is libseccomp's, since the compiler from names to filters is the hard part.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import mmap
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

NOBODY = 65534
"""User and group that a worker started by root becomes: the kernel's own overflow id, which owns no file."""

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38  # linux/prctl.h
_CREATE_RULESET, _RESTRICT_SELF = 444, 446  # landlock(7)
_LAST_ABI = 7  # of Landlock, the newest whose access rights are written down below
_CAPABILITY_V3 = 0x20080522  # linux/capability.h
_CAPS_TO_DROP_AND_KILL = 1 << 5 | 1 << 6 | 1 << 7  # CAP_KILL, CAP_SETGID, CAP_SETUID

# libde265 decodes HEIC in a thread and cannot be told not to. A thread is born inside its maker's walls. Asked for are
# CLONE_VM and CLONE_THREAD; looked at besides are CLONE_PTRACE, CLONE_VFORK, CLONE_PARENT and every CLONE_NEW….
_CLONE_THREAD = 0x0001_0100
_CLONE_MASK = _CLONE_THREAD | 0x7E02_0000 | 0x2000 | 0x4000 | 0x8000

# What CPython, NumPy and the decoders call once everything is loaded. Nothing in it opens, names or waits for anything
# outside the process. What is absent is refused with EPERM and does not kill: a library that probes for a convenience
# goes on without it, where killing would make its every picture UNKNOWN.
_ALLOWED = (
    "brk", "munmap", "mremap", "madvise", "membarrier", "sched_yield", "sched_getaffinity", "getcpu",
    "futex", "rseq", "set_robust_list",
    "read", "write", "recvfrom", "close", "lseek", "getrandom",
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "getrusage", "times",
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall",
    "getpid", "gettid", "exit", "exit_group",
)  # fmt: skip


# That a decoder's thread may take to be gone: the kernel lists one for a moment after it was joined.
ENDING_SECONDS = 1.0


class WallMissing(Exception):
    """A wall cannot be raised here; the text says which and why."""


def raise_walls(*, memory_bytes: int, cpu_seconds: int, parent: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The walls that now stand, and those that do not with the reason, both in the order they were tried.

    `memory_bytes` is what the process may hold in memory from here on, what it holds now included; `cpu_seconds` what
    it may use before `limit_cpu` is called again; `parent` the process to die with. The calling process must have one
    thread: Landlock and seccomp bind only the caller's.
    """
    filters = _libseccomp()  # finding the library opens files and starts ldconfig, so before there are walls
    walls: tuple[tuple[str, Callable[[], str]], ...] = (
        ("one thread", _one_thread),
        ("own user", _own_user),
        ("address space", lambda: _address_space(memory_bytes)),
        ("cpu", lambda: limit_cpu(cpu_seconds)),
        ("no core", lambda: _none_of("no core", resource.RLIMIT_CORE)),
        ("dies with its parent", lambda: _dies_with(parent)),
        ("not dumpable", lambda: _prctl("not dumpable", _PR_SET_DUMPABLE, 0)),
        ("no capabilities", _no_capabilities),
        ("no new privileges", lambda: _prctl("no new privileges", _PR_SET_NO_NEW_PRIVS, 1)),
        ("landlock", _landlock),
        ("no files", _no_files),
        ("seccomp", lambda: _seccomp(filters)),
    )
    standing, missing = [], []
    for name, build in walls:
        try:
            standing.append(build())
        except (WallMissing, OSError, ValueError) as e:
            missing.append(f"{name} ({e})")
    return tuple(standing), tuple(missing)


def limit_cpu(seconds: int) -> str:
    """Lets the process use `seconds` more of CPU time, rounded up to whole ones; then the kernel kills it (SIGXCPU)."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds, resource.RLIM_INFINITY))
    return "cpu"


def die_with_parent(parent: int) -> None:
    """Has the kernel kill this process when the thread that started it ends. Returns only while `parent` lives.

    A change of user clears it, so it is asked for again behind that.
    """
    if sys.platform == "linux":
        _prctl("", _PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel was asked
        os._exit(0)


def _dies_with(parent: int) -> str:
    _linux_only()
    die_with_parent(parent)
    return "dies with its parent"


def _linux_only() -> None:
    if sys.platform != "linux":
        raise WallMissing(f"{sys.platform} has none")


def _one_thread() -> str:
    _linux_only()
    until = time.monotonic() + ENDING_SECONDS
    while (threads := len(os.listdir("/proc/self/task"))) != 1:
        if time.monotonic() > until:
            raise WallMissing(f"{threads} threads run, and walls bind only the one that raises them")
        time.sleep(0.001)
    return "one thread"


def _own_user() -> str:
    """Root becomes nobody, where its capabilities allow it to and allow the parent to kill nobody's processes.

    Root without them stays, and holds no privilege either; what files it owns are behind Landlock and seccomp.
    """
    if os.geteuid() != 0:
        return "own user"
    if sys.platform != "linux":
        raise WallMissing("started by root")
    status = Path("/proc/self/status").read_text()
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    if effective & _CAPS_TO_DROP_AND_KILL == _CAPS_TO_DROP_AND_KILL:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        return "user nobody"
    return "root without capabilities"


def _none_of(name: str, which: int) -> str:
    resource.setrlimit(which, (0, 0))
    return name


def _no_files() -> str:
    # NOFILE bounds the numbers of descriptors: what is open stays usable, and nothing new can be opened or duplicated.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    return _none_of("no files", resource.RLIMIT_NOFILE)


def _address_space(memory_bytes: int) -> str:
    _linux_only()
    # Much of the address space never becomes memory (mapped libraries, reserved arenas): the room is counted from
    # what is resident, so that resident memory stays below `memory_bytes`.
    size, resident = (int(pages) * resource.getpagesize() for pages in Path("/proc/self/statm").read_text().split()[:2])
    if memory_bytes <= resident:
        raise WallMissing(f"{memory_bytes >> 20} MiB asked, and the interpreter alone holds {resident >> 20}")
    room = size - resident + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    return "address space"


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _prctl(name: str, option: int, value: int) -> str:
    _linux_only()
    _checked(_libc().prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)))
    return name


def _no_capabilities() -> str:
    _linux_only()
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_V3, 0)
    _checked(_libc().capset(header, (ctypes.c_uint32 * 6)()))  # ambient ones go with the permitted
    return "no capabilities"


def _landlock() -> str:
    """Denies every path, TCP port, abstract socket and foreign signal that this kernel's Landlock knows to deny."""
    _linux_only()
    libc = _libc()
    abi = _checked(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1))
    known = min(abi, _LAST_ABI)
    # The number of file rights, by ABI: 2 adds REFER, 3 TRUNCATE, 5 IOCTL_DEV. Rights that are handled and granted
    # nowhere are denied everywhere.
    files = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(known, 16)) - 1
    ports = 0b11 if known >= 4 else 0  # bind and connect
    scopes = 0b11 if known >= 6 else 0  # abstract UNIX sockets and signals stay inside
    fields = 3 if known >= 6 else 2 if known >= 4 else 1
    rules = (ctypes.c_uint64 * 3)(files, ports, scopes)
    ruleset = _checked(libc.syscall(_CREATE_RULESET, rules, ctypes.c_size_t(8 * fields), 0))
    try:
        _checked(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    return f"landlock abi {abi}"


def _libseccomp() -> ModuleType | str:
    """The library, or why there is none."""
    try:
        return importlib.import_module("pyseccomp")
    except (ImportError, RuntimeError) as e:  # RuntimeError: libseccomp.so.2 is not installed
        return str(e)


def _seccomp(kernel: ModuleType | str) -> str:
    if isinstance(kernel, str):
        raise WallMissing(kernel)
    rules = kernel.SyscallFilter(kernel.ERRNO(errno.EPERM))
    for name in _ALLOWED:
        rules.add_rule(kernel.ALLOW, name)
    no_code = kernel.Arg(2, kernel.MASKED_EQ, mmap.PROT_EXEC, 0)  # nothing new becomes machine code
    rules.add_rule(kernel.ALLOW, "mmap", no_code)
    rules.add_rule(kernel.ALLOW, "mprotect", no_code)
    rules.add_rule(kernel.ALLOW, "sendto", kernel.Arg(4, kernel.EQ, 0))  # to the peer, never to an address
    rules.add_rule(kernel.ALLOW, "tgkill", kernel.Arg(0, kernel.EQ, os.getpid()))  # abort() signals itself
    own_cpu = kernel.Arg(0, kernel.EQ, 0), kernel.Arg(1, kernel.EQ, resource.RLIMIT_CPU)  # limit_cpu()
    rules.add_rule(kernel.ALLOW, "prlimit64", *own_cpu)
    rules.add_rule(kernel.ALLOW, "clone", kernel.Arg(0, kernel.MASKED_EQ, _CLONE_MASK, _CLONE_THREAD))
    rules.add_rule(kernel.ERRNO(errno.ENOSYS), "clone3")  # its flags cannot be seen; the C library then takes clone
    rules.load()
    return "seccomp"
