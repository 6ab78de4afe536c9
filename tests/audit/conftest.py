"""Records that a number determines, and processes that may be killed."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from hashmatch.audit.ledger import Ledger
from hashmatch.v1.audit_pb2 import VerdictRecord

HERE = Path(__file__).parent

# The engine's calls can be watched on Linux alone; what the tests of power cuts and of failing disks show is the same
# engine's doing everywhere.
collect_ignore = [] if sys.platform == "linux" else ["test_power_cut.py", "test_failing_disk.py"]


class Child:
    """One process of the nursery's; its output ends with it."""

    def __init__(self, control: socket.socket, task: str, *arguments: object) -> None:
        out, theirs = os.pipe()
        self.output = os.fdopen(out, "rb", buffering=0)
        socket.send_fds(control, [json.dumps([task, *arguments]).encode()], [theirs])
        os.close(theirs)
        self.pid = int(control.recv(64))
        self._control = control

    def read_until(self, enough: Callable[[bytes], bool]) -> bytes:
        """What it prints until that is enough; fails when it ends before."""
        found = b""
        while not enough(found):
            read = self.output.read(1 << 16)
            if not read:
                pytest.fail(f"the task ended too soon, with {self.wait()}: {found!r}")
            found += read
        return found

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)  # it is not reaped before `wait`, so the id is still its own

    def wait(self) -> int:
        """The exit code, negative for a signal."""
        code = os.waitstatus_to_exitcode(int(self._control.recv(64)))
        self.output.close()
        return code


class Nursery:
    """Starts tasks of `tasks.py`, each in a process of its own and one at a time."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, str(HERE / "nursery.py"), str(theirs.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()

    def start(self, task: str, *arguments: object) -> Child:
        return Child(self._control, task, *arguments)

    def run(self, task: str, *arguments: object) -> tuple[int, list[str]]:
        """The exit code and the lines of a task that ends by itself."""
        child = self.start(task, *arguments)
        lines = child.output.readall().decode().splitlines()
        return child.wait(), lines

    def close(self) -> None:
        self._control.close()
        self._process.wait(10)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture(scope="session")
def tasks() -> ModuleType:
    """The module that the nursery's processes run, for what both sides must agree on."""
    spec = importlib.util.spec_from_file_location("ledger_tasks", HERE / "tasks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def record(tasks: ModuleType) -> Callable[[int], VerdictRecord]:
    """A number's verdict record: always the same."""
    return tasks.record


@pytest.fixture
def ledger(tmp_path: Path, tasks: ModuleType) -> Iterator[Ledger]:
    ledger = tasks.opened(tmp_path)
    yield ledger
    ledger.close()
