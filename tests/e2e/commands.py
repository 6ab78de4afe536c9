"""`hashmatch` as it is typed, in a process of its own that is forked from one which has imported every verb.

A fresh interpreter imports for a second before a verb begins, and the tests type hundreds. What is forked is as a fresh
one is once it has imported: it has opened nothing, and no thread runs. The entry point itself is run by the tests that
set `Deployment.program`.

Each message on the socket that the process inherits is a JSON list, arguments and environment, with file descriptors
for standard input, output and error, and of a socket on which it tells the process id and, in the end, the wait status.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

HASHMATCH = Path(sys.executable).parent / "hashmatch"
MESSAGE_BYTES = 1 << 20
PATIENCE = 120.0  # seconds for one verb


class Forked:
    """One verb at work, told of as `subprocess.Popen` tells of a process."""

    def __init__(self, told: socket.socket, stdout: IO[str] | None = None) -> None:
        self._told, self.stdout, self.returncode = told, stdout, None
        told.settimeout(PATIENCE)
        self.pid = int(told.recv(64))

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """The exit code, negative for a signal."""
        if self.returncode is None:
            self._told.settimeout(timeout)
            self.returncode = os.waitstatus_to_exitcode(int(self._told.recv(64)))
            self._told.close()
        return self.returncode


class Commands:
    """Starts verbs."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen([sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()])
        theirs.close()

    def run(
        self, arguments: Sequence[str], given: bytes, environ: Mapping[str, str]
    ) -> subprocess.CompletedProcess[bytes]:
        """What a verb did that ends by itself."""
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            stdin.write(given)
            stdin.seek(0)
            told = self._forked(arguments, environ, stdin.fileno(), out.fileno(), err.fileno())
            code = Forked(told).wait()
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(arguments, code, out.read(), err.read())

    def start(self, arguments: Sequence[str], environ: Mapping[str, str], stderr: IO[str]) -> Forked:
        """A verb that goes on; its standard output is the caller's to read."""
        ours, theirs = os.pipe()
        with open(os.devnull, "rb") as stdin, open(theirs, "wb") as out:
            told = self._forked(arguments, environ, stdin.fileno(), out.fileno(), stderr.fileno())
        return Forked(told, open(ours))

    def _forked(self, arguments: Sequence[str], environ: Mapping[str, str], *standard: int) -> socket.socket:
        told, telling = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with telling:
            message = json.dumps([arguments, dict(environ)]).encode()
            socket.send_fds(self._control, [message], [*standard, telling.fileno()])
        return told

    def close(self) -> None:
        self._control.close()
        self._process.wait(10)


def main(control: socket.socket) -> int:
    """Forks for every message; in the process that is to run a verb, its exit code."""
    from hashmatch.cli import main

    main.parser()  # imports every verb
    gc.collect()
    gc.freeze()  # what was imported is looked at by no fork's collector, and its memory stays shared
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 4)
        if not message:
            return 0
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:  # those that waited for an earlier one
                pass
        if os.fork() == 0:
            break
        for descriptor in descriptors:
            os.close(descriptor)
    control.close()
    *standard, telling = descriptors
    if pid := os.fork():
        for descriptor in standard:
            os.close(descriptor)
        with suppress(OSError):  # nobody listens any more
            os.write(telling, str(pid).encode())
            status = os.waitpid(pid, 0)[1]
            os.write(telling, str(status).encode())
        os._exit(0)
    os.close(telling)
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
        os.close(descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    arguments, environ = json.loads(message)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = [str(HASHMATCH), *arguments]
    sys.path[0] = str(HASHMATCH.parent)
    return main.main()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(main(socket.socket(fileno=int(sys.argv[1]))))
