"""What idle connections cost a server: run by hand, since they need more descriptors than a test's process may have.

    PYTHONPATH=tests .venv/bin/python tests/e2e/idle_connections.py [CONNECTIONS [PER_PROCESS]]

CONNECTIONS (10000) are held by as many processes as PER_PROCESS (2500) asks for, each calling from an address of its
own. The server needs `ulimit -Hn` above CONNECTIONS + 512. Prints a row of a table for each kind of connection, each of
a fresh server: "silent" is TCP alone, "settled" has the settings of HTTP/2 behind it, as every client that waits for
something to ask. MiB are the growth of the server's resident memory, the kernel's buffers not counted. A bystander asks
about a fingerprint meanwhile; how long that takes without those connections is the row of 0.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from conftest import Deployment
from e2e.commands import HASHMATCH

from hashmatch.address import Address
from hashmatch.client import Fingerprint
from hashmatch.server.lifecycle import raise_file_limit

SETTINGS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
ASKED = 500  # by the bystander, for each row


def hold(server: str, number: int, source: str, kind: str) -> None:
    """Holds connections until standard input ends; says so once all of them stand."""
    raise_file_limit()
    address = Address.parse(server)
    with contextlib.ExitStack() as held:
        for _ in range(number):
            peer = socket.create_connection((address.host, address.port), 10, source_address=(source, 0))
            held.enter_context(peer)
            if kind == "settled":
                peer.sendall(SETTINGS)
                peer.recv(1)  # its own are on their way
        print("held", flush=True)
        sys.stdin.read()


def row(deployment: Deployment, kind: str, connections: int, per_process: int) -> str:
    server = psutil.Process(deployment.process.pid)
    before, descriptors = server.memory_info().rss, server.num_fds()
    holders = []
    for first in range(0, connections, per_process):
        number, source = min(per_process, connections - first), f"127.0.0.{2 + first // per_process}"
        command = [sys.executable, __file__, "hold", deployment.address, str(number), source, kind]
        holders.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for holder in holders:
        assert holder.stdout.readline() == "held\n"
    deployment.wait_for(lambda: server.num_fds() >= descriptors + connections)  # the server has taken them all
    taken = []
    with deployment.client() as client:
        client.capabilities()  # it is connected
        for _ in range(ASKED):
            began = time.perf_counter()
            client.match(fingerprints=[Fingerprint("pdq", bytes(range(32)))])
            taken.append(1000 * (time.perf_counter() - began))
    grown = (server.memory_info().rss - before) / (1 << 20)
    for holder in holders:
        holder.communicate()
    taken.sort()
    return f"| {kind} | {connections} | {grown:.0f} | {taken[ASKED // 2]:.1f} | {taken[ASKED * 99 // 100]:.1f} |"


def main(connections: int = 10_000, per_process: int = 2_500) -> None:
    print("| kind | connections | MiB | p50 ms | p99 ms |\n|---|---|---|---|---|")
    for kind, number in (("silent", 0), ("silent", connections), ("settled", connections)):
        with tempfile.TemporaryDirectory() as folder:
            deployment = Deployment(Path(folder) / "state")
            deployment.program = [HASHMATCH]
            deployment.list_known((1, "pdq"))
            deployment.serve("--workers", "1", "--metrics-listen", "")
            try:
                print(row(deployment, kind, number, per_process), flush=True)
            finally:
                deployment.stop()


if __name__ == "__main__":
    if sys.argv[1:2] == ["hold"]:
        hold(sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
    else:
        main(*map(int, sys.argv[1:]))
