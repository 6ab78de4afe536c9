"""A worker's job that does what the media says: the first word names an act, the rest is its argument.

It runs inside decode workers only. An act that probes a wall answers with the media type "allowed", or with "denied"
where the kernel refused. The width of an answer is the KiB of memory that its process ever held, the height its id.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import mmap
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hashmatch.errors import BadConfig
from hashmatch.types import Examination, Fingerprint, Hashed, Wanted

_libc = ctypes.CDLL(None, use_errno=True)


def prepare(hash_types: Collection[str]) -> None:
    """Raises where a hash type is "broken", and leaves a thread behind where one is "threaded"."""
    if "broken" in hash_types:
        raise BadConfig("the decoder does not work")
    if "threaded" in hash_types:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


def digests(media: memoryview) -> tuple[Hashed, ...]:
    """The exact digests; a crash before they are made, where the media starts with "early"."""
    if bytes(media[:5]) == b"early":
        _crash("")
    return tuple(Hashed(Fingerprint(name, hashlib.new(name, media).digest())) for name in ("md5", "sha1", "sha256"))


def look(media: memoryview, wanted: Wanted) -> Examination:
    """The act's answer, with the start of SHA-512 as the value of every wanted hash type."""
    act, _, argument = bytes(media[:200]).decode("latin-1").partition(" ")
    said = _ACTS.get(act, _good)(argument.strip())
    value = hashlib.sha512(media).digest()[:32]
    return Examination(
        media_type=said,
        width=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        height=os.getpid(),
        hashed=tuple(Hashed(Fingerprint(name, value), quality=100) for name in wanted.hash_types),
    )


def _good(_: str) -> str:
    return "good"


def _crash(_: str) -> str:
    ctypes.string_at(0)
    return "unreachable"


def _abort(_: str) -> str:
    os.abort()


def _raise(_: str) -> str:
    raise RuntimeError("on purpose")


def _leave(status: str) -> str:
    os._exit(int(status))


def _spin(seconds: str) -> str:
    end = time.process_time() + float(seconds or "inf")  # of CPU time, which a busy machine does not shorten
    while time.process_time() < end:
        pass
    return "spun"


def _sleep(seconds: str) -> str:
    time.sleep(float(seconds))
    return "slept"


def _grow(_: str) -> str:
    held = []
    while True:
        held.append(bytearray(b"x" * (1 << 20)))  # filled, so that it is memory and not only addresses


def _bomb(_: str) -> str:
    return str(len(bytearray(4 << 30)))


def _chatter(_: str) -> str:
    for _line in range(2000):  # as C libraries do, which do not mind when it gets nowhere
        _libc.dprintf(2, b"%s\n", b"x" * 1000)
    return "chattered"


def _say(text: str) -> str:
    """Writes `text` (hex) to the socket ahead of the answer, as a worker that was taken over could."""
    os.write(_peer(), bytes.fromhex(text))
    return "said"


def _flood(_: str) -> str:
    while True:
        os.write(_peer(), bytes(1 << 16))


def _peer() -> int:
    return int(json.loads(sys.argv[1])["socket"])


def _probe(act: Callable[[str], object]) -> Callable[[str], str]:
    def tried(argument: str) -> str:
        try:
            act(argument)
        except (OSError, RuntimeError) as e:  # RuntimeError: "can't start new thread"
            return "denied" if isinstance(e, RuntimeError) or e.errno in _REFUSALS else f"failed {e.errno}"
        return "allowed"

    return tried


_REFUSALS = (errno.EPERM, errno.EACCES, errno.EAGAIN, errno.EMFILE)


def _connect(family: int, kind: int, to: object) -> None:
    with socket.socket(family, kind) as s:
        s.connect(to)  # type: ignore[arg-type]


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _in_thread(act: Callable[[], object]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(act).result()


def _call(number: int, *arguments: int) -> None:
    if _libc.syscall(number, *map(ctypes.c_long, arguments)) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def _machine_code() -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


def _more(which: int) -> None:
    try:
        resource.setrlimit(which, (1 << 40, 1 << 40))
    except ValueError as e:  # what setrlimit(2) calls EPERM
        raise PermissionError(errno.EPERM, "refused") from e


PROBES: dict[str, Callable[[str], object]] = {
    "read": lambda path: Path(path).read_bytes(),
    "write": lambda path: Path(path).write_bytes(b"x"),
    "stat": os.stat,
    "list": os.listdir,
    "unlink": os.unlink,
    "chdir": os.chdir,
    "tcp": lambda port: _connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", int(port))),
    "udp": lambda port: _connect(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", int(port))),
    "unix": lambda name: _connect(socket.AF_UNIX, socket.SOCK_STREAM, name),
    "pair": lambda _: socket.socketpair(),
    "duplicate": lambda _: os.dup(2),
    "exec": lambda path: os.execv(path, [path]),  # noqa: S606 - the point
    "fork": lambda _: _fork(),
    "threadread": lambda path: _in_thread(lambda: Path(path).read_bytes()),
    "threadfork": lambda _: _in_thread(_fork),
    "namespacethread": lambda _: _call(56, 0x0001_0900 | 0x1000_0000, 0, 0, 0, 0),
    "signal": lambda _: os.kill(os.getppid(), 0),
    "signalgroup": lambda _: os.kill(0, 0),
    "ptrace": lambda _: _call(101, 16, os.getppid(), 0, 0),
    "peek": lambda _: _call(310, os.getppid(), 0, 0, 0, 0, 0),
    "code": lambda _: _machine_code(),
    "morememory": lambda _: _more(resource.RLIMIT_AS),
    "moreprocesses": lambda _: _more(resource.RLIMIT_NPROC),
    "user": lambda _: os.setuid(0),
    "chroot": os.chroot,
    "namespace": lambda _: _call(272, 0x10000000),
}

_ACTS: dict[str, Callable[[str], str]] = {
    "crash": _crash, "abort": _abort, "raise": _raise, "leave": _leave, "spin": _spin, "sleep": _sleep,
    "grow": _grow, "bomb": _bomb, "chatter": _chatter, "say": _say, "flood": _flood,
    **{name: _probe(act) for name, act in PROBES.items()},
}  # fmt: skip
