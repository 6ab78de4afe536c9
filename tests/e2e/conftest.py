"""A real server process over a fresh state directory, the real command line, the real client."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from e2e.commands import HASHMATCH, Commands, Forked
from pictures import png

from hashmatch.access.credentials import Credentials
from hashmatch.audit.ledger import Ledger
from hashmatch.client import Client
from hashmatch.examine import examine
from hashmatch.index.recipe import load_recipes
from hashmatch.lists.keeper import ListKeeper
from hashmatch.store.lists import ListStore
from hashmatch.types import Fingerprint, Wanted

DISK_BYTES = 24 << 20


class Deployment:
    """One state directory, the commands run on it and the servers started over it."""

    def __init__(self, state: Path, commands: Commands | None = None) -> None:
        self.state, self.commands = state, commands
        self.process: subprocess.Popen[str] | Forked | None = None
        self.address = ""
        # Settings beside the state. To start a worker takes half a second of CPU time; who wants two says so.
        self.environ: dict[str, str] = {"HASHMATCH_WORKERS": "1"}
        self.program: list[object] = []  # run in place of what `commands` forks

    def run(self, *command: object, given: str | bytes | None = None, expect: int | None = 0) -> str:
        """Standard output of `hashmatch COMMAND…`; its exit code must be `expect`."""
        words = [str(word) for word in command]
        standard_input = given.encode() if isinstance(given, str) else given or b""
        environ = {**os.environ, **self.environ, "HASHMATCH_STATE": str(self.state)}
        if self.program:
            done = subprocess.run(
                [*self.program, *words], input=standard_input, capture_output=True, env=environ, timeout=120
            )
        else:
            done = self.commands.run(words, standard_input, environ)
        assert expect is None or done.returncode == expect, (done.returncode, done.stdout, done.stderr)
        self.stderr = done.stderr.decode()
        return done.stdout.decode()

    def json(self, *command: object, given: str | bytes | None = None, expect: int | None = 0) -> list[dict]:
        return [json.loads(line) for line in self.run(*command, "--json", given=given, expect=expect).splitlines()]

    def list_known(self, *wanted: tuple[int, str]) -> list[Fingerprint]:
        """Makes the list `known` of drawn pictures, each by its seed and one hash type; their fingerprints.

        Without the command line, which takes a second for each step.
        """
        found = []
        for seed, hash_type in wanted:
            hashed = examine(png(seed), Wanted((hash_type,))).hashed
            found.append(next(h.fingerprint for h in hashed if h.fingerprint.hash_type == hash_type))
        with contextlib.closing(ListStore(self.state)) as store:
            keeper = ListKeeper(store, load_recipes())
            keeper.create("known", by="tests")
            for fingerprint in found:
                keeper.add("known", fingerprint, reason="drawn", by="tests")
        return found

    def key(self, name: str, *roles: str) -> str:
        """A new key of somebody, made in this process: a verb takes a second to start."""
        with closing(Credentials(self.state)) as credentials:
            return credentials.create(name, roles, by="tests")[1]

    def recorded(self) -> dict[str, str]:
        """Every verdict id in the ledger by its request id; none is there twice. Read by this process, as it stands."""
        found: dict[str, str] = {}
        read = 0
        with contextlib.closing(Ledger(self.state, readonly=True)) as ledger:
            while page := ledger.events(after=read):
                assert [event.sequence for event in page] == list(range(read + 1, read + 1 + len(page)))
                verdicts = [event.verdict for event in page if event.HasField("verdict")]
                assert len({one.request_id for one in verdicts} - found.keys()) == len(verdicts)
                found |= {one.request_id: one.verdict_id for one in verdicts}
                read = page[-1].sequence
        assert len(found) == len(set(found.values()))
        return found

    def serve(self, *flags: str, fresh: bool = False) -> None:
        """Starts a server and waits until it says that it is SERVING.

        `fresh` is for tests that measure its memory: a fork's grows while it touches what it shares.
        """
        program = self.program or ([HASHMATCH] if fresh else [])
        self.trace = (self.state.parent / "trace").open("a")
        words = ["serve", "--state", str(self.state), "--listen", "127.0.0.1:0", *flags]
        environ = {**os.environ, **self.environ}
        if program:
            self.process = subprocess.Popen(
                [*program, *words], stdout=subprocess.PIPE, stderr=self.trace, env=environ, text=True
            )
        else:
            self.process = self.commands.start(words, environ, self.trace)
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

    def servers(self) -> list[psutil.Process]:
        """The server processes of a supervisor."""
        return self.processes("hashmatch.server.child")

    def processes(self, command: str) -> list[psutil.Process]:
        """The processes below the server whose command line has this in it."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile
                if any(command in part for part in process.cmdline()):
                    found.append(process)
        return found

    def workers(self) -> list[psutil.Process]:
        """The decode workers, of all server processes."""
        return self.processes("hashmatch.media.worker")

    def ready(self) -> bool:
        """What the probe says, of all server processes together."""
        address = self.line.rpartition("metrics on ")[2].strip()
        try:
            return urllib.request.urlopen(f"http://{address}/readyz", timeout=10).status == 200
        except urllib.error.HTTPError as e:
            e.close()
            return False

    @staticmethod
    def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
        """Waits until the condition is true."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def client(self, **options: object) -> Client:
        return Client(self.address, **options)


@pytest.fixture(scope="session")
def commands():
    with closing(Commands()) as commands:
        yield commands


def deployments(state: Path, commands: Commands):
    deployment = Deployment(state, commands)
    try:
        yield deployment
    finally:
        if deployment.process is not None:
            with contextlib.suppress(Exception):
                deployment.stop(signal.SIGKILL)


@pytest.fixture
def deployment(tmp_path, commands):
    yield from deployments(tmp_path / "state", commands)


@pytest.fixture(scope="module")
def shared(tmp_path_factory, commands):
    """One deployment for the tests of a module, which must not disturb one another."""
    yield from deployments(tmp_path_factory.mktemp("shared") / "state", commands)


class SmallDisk:
    """Fills the disk under a deployment's state and frees it again.

    As root it is a disk of its own, really full. Otherwise it is a limit on the size of the server's files, which
    LMDB meets in the same place.
    """

    def __init__(self, deployment) -> None:
        self.deployment = deployment
        self.mounted = os.geteuid() == 0
        deployment.state.mkdir()
        if self.mounted:
            command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", deployment.state]
            subprocess.run(command, check=True)

    def fill(self) -> None:
        if not self.mounted:
            self._limit((self.deployment.state / "ledger" / "data.mdb").stat().st_size)
            return
        filler = self.deployment.state / "filler"
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(1 << 16))

    def free(self) -> None:
        if self.mounted:
            (self.deployment.state / "filler").unlink()
        else:
            self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        for server in (self.deployment.process, *self.deployment.servers()):
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def close(self) -> None:
        if self.deployment.process is not None:
            self.deployment.stop(signal.SIGKILL)
        if self.mounted:
            subprocess.run(["umount", "-l", self.deployment.state], check=True)


@pytest.fixture
def small_disk(deployment):
    disk = SmallDisk(deployment)
    yield disk
    disk.close()
