"""kill -9 of every process of the tree in turn, under load: nothing acknowledged is lost, nothing is left behind, and
nobody has to do anything."""

from __future__ import annotations

import hashlib
import signal
import threading

import grpc
import psutil
import pytest
from pictures import png

from hashmatch import errors
from hashmatch.client import Finding
from hashmatch.v1 import lists_pb2, lists_pb2_grpc

ASKING = 4  # threads
SERVE = ("--processes", "2", "--workers", "2", "--metrics-listen", "127.0.0.1:0")


@pytest.fixture(scope="module")
def served(shared):
    [shared.fingerprint] = shared.list_known((1, "pdq"))
    shared.environ["HASHMATCH_QUEUE_MS"] = "20000"  # who waits for a new worker is not refused
    shared.serve(*SERVE)
    return shared


def tree(deployment):
    return psutil.Process(deployment.process.pid).children(recursive=True)


def whole(deployment):
    """Whether all of them are there: two servers, and for each its workers and a spare."""
    return len(deployment.servers()) == 2 and len(deployment.workers()) == 4 and deployment.ready()


class Load:
    """Asks from several threads until left, on a new connection now and then; whatever is answered must be right."""

    def __init__(self, deployment) -> None:
        self.deployment = deployment
        self.acknowledged: dict[str, str] = {}
        self.errors: list[str] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(ASKING)]

    def _ask(self, thread: int) -> None:
        number = 0
        while not self._ended.is_set():
            with self.deployment.client(timeout=20) as client:
                for _ in range(20):
                    number += 1
                    request_id = f"{thread}-{number}"
                    question = {"fingerprints": [self.deployment.fingerprint]} if number % 2 else {"media": png(1)}
                    try:
                        answer = client.match(**question, request_id=request_id)
                    except errors.Unavailable:  # its process is gone: what every caller of a network must expect
                        break
                    except Exception as e:
                        self.errors.append(repr(e))
                        return
                    if answer.finding == Finding.FINDING_NO_MATCH:
                        self.errors.append(f"{request_id}: no match")
                    self.acknowledged[request_id] = answer.verdict_id

    def more(self) -> None:
        """Waits until something more was answered."""
        before = len(self.acknowledged)
        self.deployment.wait_for(lambda: len(self.acknowledged) > before + ASKING)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        assert not self.errors


def test_whichever_is_killed(served):
    with Load(served) as load:
        load.more()
        for victim in (*served.workers(), *served.servers()):
            below = victim.children(recursive=True)
            victim.kill()
            load.more()  # the others go on
            served.wait_for(lambda: whole(served))
            psutil.wait_procs(below, timeout=10)
            assert not [process for process in below if process.is_running()]  # workers die with their server
            served.wait_for(lambda: all(process.status() != psutil.STATUS_ZOMBIE for process in tree(served)))
            load.more()
        everything = tree(served)
        served.stop(signal.SIGKILL)  # the supervisor
        served.serve(*SERVE)  # at once: whoever is left of the others must not be in the way
        load.more()
        _, left = psutil.wait_procs(everything, timeout=10)
        assert not left
        served.wait_for(lambda: whole(served))
    assert load.acknowledged.items() <= served.recorded().items()
    served.run("check")


def test_an_import_whose_process_is_killed_changes_nothing(served):
    before = served.json("lists", "show", "known")
    code, _ = import_half(served, lambda importer: importer.kill())
    assert code == grpc.StatusCode.UNAVAILABLE
    assert served.json("lists", "show", "known") == before
    assert served.ready()


def test_an_import_whose_server_is_killed_changes_nothing(served):
    before = served.json("lists", "show", "known")
    code, importer = import_half(served, lambda importer: importer.parent().kill())
    assert code == grpc.StatusCode.UNAVAILABLE
    assert not psutil.wait_procs([importer], timeout=20)[1]
    assert served.json("lists", "show", "known") == before
    served.wait_for(lambda: whole(served))


def import_half(deployment, kill):
    """Sends half of a list and kills what `kill` makes of the process that imports; the code and that process."""
    sent, done = threading.Event(), threading.Event()
    lines = "".join(f"{hashlib.sha256(b'%d' % n).hexdigest()}\n" for n in range(2000)).encode()

    def requests():
        header = lists_pb2.ImportHeader(
            name="known", format=lists_pb2.IMPORT_FORMAT_HEX, activate=True, bytes=2 * len(lines)
        )
        yield lists_pb2.ImportListRequest(header=header)
        yield lists_pb2.ImportListRequest(chunk=lines)
        sent.set()
        done.wait(30)
        yield lists_pb2.ImportListRequest(chunk=lines)

    with grpc.insecure_channel(deployment.address) as channel:
        call = lists_pb2_grpc.ListServiceStub(channel).ImportList.future(requests())
        assert sent.wait(30)
        deployment.wait_for(lambda: deployment.processes("hashmatch.importer"))
        [importer] = deployment.processes("hashmatch.importer")
        deployment.wait_for(lambda: importer.io_counters().read_chars > len(lines))  # it has what was sent
        kill(importer)
        done.set()
        call.exception(30)
        return call.code(), importer
