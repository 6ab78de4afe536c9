"""The figures of the work, computed in a process of its own: they take a reading of the whole ledger, and nothing that
a server does waits for that."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from hashmatch.errors import Unavailable

LONGEST_SECONDS: Final = 600.0  # of one reading; a million matches take a minute or two
_LOOK_SECONDS: Final = 0.2  # between two looks whether anybody still waits


def computed(
    order: Mapping[str, Any], stopping: threading.Event, began: Callable[[int], object] = lambda _pid: None, *,
    longest: float = LONGEST_SECONDS,
) -> dict[str, Any]:  # fmt: skip
    """The figures that `hashmatch.server.measure` tells on an order.

    Args:
        stopping: once it is set nobody waits for them any more.
        began: told the process, by its number.
        longest: seconds until it is ended, and the figures cannot be had.
    Raises:
        Unavailable: they cannot be had; says why, of the state directory alone.
    """
    command = [sys.executable, "-m", "hashmatch.server.measure", json.dumps(dict(order))]
    until = time.monotonic() + longest
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:  # fmt: skip
        began(process.pid)
        while True:
            try:
                told, problem = process.communicate(timeout=_LOOK_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if stopping.is_set() or time.monotonic() > until:
                    process.kill()
    try:
        found: dict[str, Any] = json.loads(told)
    except ValueError as e:
        said = problem.decode(errors="replace").strip().rpartition("\n")[2]
        raise Unavailable(said or f"ended ({process.returncode})") from e
    return found
