"""What a decode worker cannot do, tried from inside one: as each kind of user, and where the kernel lacks a wall.

Run as a script, this file tries acts of `faulty.py` in a sandbox and prints what they came to; the tests start it so,
since another user, or a kernel with less in it, needs another process.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hashmatch.errors import BadConfig
from hashmatch.media.sandbox import Sandbox
from hashmatch.types import Wanted

LINUX_WALLS = [
    "one thread", "address space", "cpu", "no core", "dies with its parent", "not dumpable",
    "no capabilities", "no new privileges", "no files", "seccomp",
]  # fmt: skip

# How the script is started, by kind of user. DAC_READ_SEARCH only lets another user reach an interpreter that is
# installed in a home directory; it opens nothing to a worker, which drops it.
USERS = (
    {
        "root": [],
        "root without capabilities": ["setpriv", "--bounding-set=-all", "--inh-caps=-all"],
        "ordinary user": [
            "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
            "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
        ],
    }
    if os.geteuid() == 0
    else {"ordinary user": []}
)  # fmt: skip


def run(acts: list[str], *, prefix: list[str], settings: dict[str, Any] | None, lacking: list[str]) -> Any:
    """What the script prints. `settings`: of the sandbox; none: no sandbox. `lacking`: system calls taken away."""
    command = [*prefix, sys.executable, __file__, json.dumps([acts, settings, lacking])]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, cwd="/")
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Probe → argument, each of which succeeds without walls."""
    state = tmp_path_factory.mktemp("state")
    secret = state / "data.mdb"
    secret.write_bytes(b"listed")
    shared = Path("/tmp" if os.access("/tmp", os.W_OK) else tmp_path_factory.mktemp("shared"))  # noqa: S108
    abstract = f"\0hashmatch-test-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0), backlog=16) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        udp.bind(("127.0.0.1", 0))
        unix.bind(abstract)
        unix.listen(16)
        written = shared / f"hashmatch-test-{os.getpid()}"
        yield {
            "read": "/etc/hostname",
            "threadread": "/etc/hostname",
            "write": str(written),
            "stat": "/etc/hostname",
            "list": "/etc",
            "chdir": "/etc",
            "tcp": str(tcp.getsockname()[1]),
            "udp": str(udp.getsockname()[1]),
            "unix": abstract,
            "state": str(secret),
        }
        written.unlink(missing_ok=True)


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The job module, in reach of workers too."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("faulty")


def acts_of(targets: dict[str, str], names: list[str]) -> list[str]:
    return [f"{'read' if name == 'state' else name} {targets.get(name, '')}" for name in names]


@pytest.mark.parametrize("user", USERS)
def test_every_act_is_refused_and_memory_is_bounded(user: str, targets: dict[str, str], faulty: Any) -> None:
    others = {"unlink": targets["write"], "exec": shutil.which("true") or "/bin/true", "chroot": "/tmp"}  # noqa: S108
    names = [*faulty.PROBES, "state"]
    acts = [*acts_of(targets | others, names), "bomb", "grow", "good"]
    found = run(acts, prefix=USERS[user], settings={"memory_bytes": 200 << 20}, lacking=[])
    assert dict(zip(names, found["answers"], strict=False)) == dict.fromkeys(names, "denied")
    assert found["answers"][len(names) :] == ["too_large", "too_large", "good"]
    assert found["most"] <= 200 << 20
    assert set(LINUX_WALLS) <= set(found["walls"])
    assert any(wall.startswith("landlock abi ") for wall in found["walls"])


def test_the_acts_succeed_without_walls(targets: dict[str, str]) -> None:
    """Else the test above would prove nothing."""
    names = [
        "read", "state", "write", "stat", "list", "tcp", "udp", "unix", "pair", "duplicate", "fork", "threadread",
        "threadfork", "signal", "signalgroup", "code", "chdir",
    ]  # fmt: skip
    found = run(acts_of(targets, names), prefix=[], settings=None, lacking=[])
    assert dict(zip(names, found["answers"], strict=True)) == dict.fromkeys(names, "allowed")


@pytest.mark.parametrize(
    ("lacking", "wall"), [(["landlock_create_ruleset"], "landlock"), (["seccomp", "prctl"], "seccomp")]
)
def test_a_wall_that_the_kernel_lacks_stops_the_start(lacking: list[str], wall: str) -> None:
    refused = run(["good"], prefix=[], settings={}, lacking=lacking)["refused"]
    assert "missing walls" in refused
    assert f"{wall} (" in refused


def test_a_missing_wall_is_named_where_the_settings_allow_it() -> None:
    settings = {"require_walls": False}
    found = run(["read /etc/hostname"], prefix=[], settings=settings, lacking=["landlock_create_ruleset"])
    assert found["answers"] == ["denied"]  # seccomp stands
    assert found["walls"][-1] == "seccomp"
    assert not any(wall.startswith("landlock") for wall in found["walls"])


def test_a_thread_that_the_job_left_behind_stops_the_start() -> None:
    """Walls bind one thread; the other would stay outside."""
    refused = run(["good"], prefix=[], settings={"hash_types": {"threaded": 32}}, lacking=[])["refused"]
    assert "one thread (2 threads run" in refused


def test_less_memory_than_the_interpreter_holds_stops_the_start() -> None:
    refused = run(["good"], prefix=[], settings={"memory_bytes": 1 << 20}, lacking=[])["refused"]
    assert "address space (1 MiB asked" in refused


def _script() -> None:
    acts, settings, lacking = json.loads(sys.argv[1])
    if lacking:
        kernel = importlib.import_module("pyseccomp")
        rules = kernel.SyscallFilter(kernel.ALLOW)
        for call in lacking:
            only = [kernel.Arg(0, kernel.EQ, 22)] if call == "prctl" else []  # PR_SET_SECCOMP, seccomp's older door
            rules.add_rule(kernel.ERRNO(38), call, *only)  # ENOSYS, as an older kernel answers
        rules.load()
    if settings is None:
        job = importlib.import_module("faulty")
        print(json.dumps({"answers": [job.look(memoryview(act.encode()), Wanted()).media_type for act in acts]}))
        return
    try:
        print(json.dumps(asyncio.run(_sandboxed(acts, **settings))))
    except BadConfig as e:
        print(json.dumps({"refused": str(e)}))


async def _sandboxed(acts: list[str], **settings: Any) -> dict[str, Any]:
    async with Sandbox(workers=1, job="faulty", deadline=20, cpu_seconds=20, **settings) as sandbox:
        answers = [await sandbox.examine(act.encode(), Wanted()) for act in acts]
    return {
        "walls": sandbox.walls,
        "answers": [a.media_type or a.unhashable[0].reason.value for a in answers],
        "most": max((a.width << 10 for a in answers), default=0),
    }


if __name__ == "__main__":
    _script()


def test_a_thread_that_is_ending_is_waited_for_and_one_that_stays_is_not_tolerated() -> None:
    program = (
        "import sys, threading, time\n"
        "from hashmatch.media import walls\n"
        "threading.Thread(target=time.sleep, args=(float(sys.argv[1]),), daemon=True).start()\n"
        "print(walls._one_thread())"
    )
    ending = subprocess.run([sys.executable, "-c", program, "0.2"], capture_output=True, text=True, check=True)
    assert ending.stdout == "one thread\n"
    staying = subprocess.run([sys.executable, "-c", program, "9"], capture_output=True, text=True, check=False)
    assert "2 threads run" in staying.stderr
