"""A real server process over a fresh state directory, the real command line, the real client."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hashmatch.client import Client

HASHMATCH = Path(sys.executable).parent / "hashmatch"


class Deployment:
    """One state directory, the commands run on it and the servers started over it."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.process: subprocess.Popen[str] | None = None
        self.address = ""
        self.environ: dict[str, str] = {}  # settings beside the state

    def run(self, *command: object, given: str | bytes | None = None, expect: int | None = 0) -> str:
        """Standard output of `hashmatch COMMAND…`; its exit code must be `expect`."""
        done = subprocess.run(
            [HASHMATCH, *map(str, command)],
            input=given.encode() if isinstance(given, str) else given,
            capture_output=True,
            env={**os.environ, **self.environ, "HASHMATCH_STATE": str(self.state)},
            timeout=120,
        )
        assert expect is None or done.returncode == expect, (done.returncode, done.stdout, done.stderr)
        self.stderr = done.stderr.decode()
        return done.stdout.decode()

    def json(self, *command: object, given: str | bytes | None = None, expect: int | None = 0) -> list[dict]:
        return [json.loads(line) for line in self.run(*command, "--json", given=given, expect=expect).splitlines()]

    def serve(self, *flags: str) -> None:
        """Starts a server and waits until it says that it is SERVING."""
        self.trace = (self.state.parent / "trace").open("a")
        self.process = subprocess.Popen(
            [HASHMATCH, "serve", "--state", self.state, "--listen", "127.0.0.1:0", *flags],
            stdout=subprocess.PIPE,
            stderr=self.trace,
            env={**os.environ, **self.environ},
            text=True,
        )
        line = self.process.stdout.readline()  # empty where the server gave up
        assert line.startswith("SERVING on "), (line, Path(self.trace.name).read_text())
        self.line, self.address = line, line.split()[2].rstrip(":")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stops the server; its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(30)
        self.process.stdout.close()
        self.trace.close()
        self.process = None
        return code

    def client(self, **options: object) -> Client:
        return Client(self.address, **options)


def deployments(state: Path):
    deployment = Deployment(state)
    try:
        yield deployment
    finally:
        if deployment.process is not None:
            with contextlib.suppress(Exception):
                deployment.stop(signal.SIGKILL)


@pytest.fixture
def deployment(tmp_path):
    yield from deployments(tmp_path / "state")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One deployment for the tests of a module, which must not disturb one another."""
    yield from deployments(tmp_path_factory.mktemp("shared") / "state")
