"""One server per state directory, and what it tells the service manager that started it."""

from __future__ import annotations

import fcntl
import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hashmatch.errors import BadConfig

LOCK_FILE = "serve.lock"


@contextmanager
def only_server(state: Path) -> Iterator[None]:
    """Holds the state directory against other servers, for as long as this process lives and no longer.

    Raises:
        BadConfig: another server has it, or it cannot be written.
    """
    path = state / LOCK_FILE
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as e:
        raise BadConfig(f"the state directory {state} cannot be used: {e.strerror}") from e
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.read(fd, 32).decode(errors="replace").strip()
            raise BadConfig(
                f"another server (process {other or 'unknown'}) serves {state}: stop it first; to use more cores give "
                "that one more --processes"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def tell_manager(*lines: str) -> None:
    """Tells systemd, where it started this: sd_notify(3). A manager that cannot be told is not waited for."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
        to.settimeout(1)
        to.sendto("\n".join(lines).encode(), "\0" + address[1:] if address.startswith("@") else address)


def reloading() -> tuple[str, str]:
    """What systemd is told as a reload begins."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def watchdog_seconds() -> float:
    """How often the manager wants to hear that this lives; 0: never. sd_watchdog_enabled(3)"""
    with suppress(ValueError):
        if os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            return int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6
    return 0.0


def no_core_dumps() -> None:
    """Keeps what is listed out of files that a crash would leave behind."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def raise_file_limit() -> int:
    """Lets this process hold as many connections as the system allows it: the descriptors it may now have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with suppress(ValueError, OSError):  # macOS says "unlimited" and then refuses it
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
