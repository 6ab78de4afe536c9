"""How many matches a second go the whole way: verdict, case, outbox, delivery, confirmation?

    python benchmarks/workflow.py              about a minute

A real ledger on disk, the policy that comes with hashmatch, the sender's threads, and a receiver in a process of its
own that checks every signature and confirms in its answer. Verdicts are appended as a server would, from several
threads that each wait for the disk; of five, one is of an uploader who was there before. Afterwards the outbox must be
empty, every instruction confirmed, and the exported log must verify.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from measured import Report

from hashmatch import clock
from hashmatch.audit import verify
from hashmatch.audit.export import export
from hashmatch.audit.ledger import Ledger
from hashmatch.delivery.addresses import Egress
from hashmatch.delivery.guarded_http import GuardedHttp
from hashmatch.delivery.standard_webhooks import Secret, new_secret
from hashmatch.delivery.webhook import Webhook
from hashmatch.evidence.master import FileMaster, create_master_file
from hashmatch.evidence.vault import Vault
from hashmatch.v1 import common_pb2, lists_pb2
from hashmatch.v1.audit_pb2 import VerdictRecord
from hashmatch.v1.cases_pb2 import DISPATCH_STATE_CONFIRMED
from hashmatch.workflow import policy_file
from hashmatch.workflow.casework import Casework
from hashmatch.workflow.policy_store import ClocksInForce, PolicyInForce, PolicyStore
from hashmatch.workflow.sender import Line, Sender

SECONDS = 20.0
ASKING = 8  # threads that append
LIMIT = 200.0  # matches a second that are asked
RECEIVER = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from standardwebhooks import Webhook
secret = Webhook(sys.argv[1])
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        secret.verify(body, dict(self.headers))
        self.send_response(200)
        answer = b\'{"status": "confirmed"}\'
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
    def log_message(self, *_): pass
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(server.server_address[1], flush=True)
server.serve_forever()
"""


def match(number: int) -> VerdictRecord:
    """A MATCH on a verified list; every fifth is of an uploader who was there before."""
    record = VerdictRecord(verdict_id=clock.new_id("v"), finding=common_pb2.FINDING_MATCH, media_type="image/jpeg")
    record.at.FromDatetime(datetime.now(UTC))
    record.subject.uploader_id = f"user-{number - number % 5 if number % 25 == 4 else number}"
    record.subject.content_id, record.subject.surface = f"content-{number}", "chat"
    record.matches.add(list="known", entry_id=f"e{number % 1000}", hash_type="pdq", distance=4, threshold=31)
    record.policies["known"].trust = lists_pb2.TRUST_TIER_VERIFIED
    fingerprint = common_pb2.Fingerprint(hash_type="pdq", value=number.to_bytes(32, "big"), quality=90)
    record.hashed.add(hash_type="pdq", fingerprint=fingerprint)
    return record


def main() -> None:
    report = Report("workflow", f"made verdicts of a verified list, {ASKING} threads, one receiver")
    key = new_secret()
    receiver = subprocess.Popen([sys.executable, "-c", RECEIVER, key], stdout=subprocess.PIPE, text=True)
    assert receiver.stdout is not None
    port = int(receiver.stdout.readline())
    try:
        with tempfile.TemporaryDirectory() as folder:
            measure(report, Path(folder) / "state", f"http://127.0.0.1:{port}/", key)
            measure_vault(report, Path(folder))
    finally:
        receiver.kill()
    report.write()


def measure(report: Report, state: Path, url: str, key: str) -> None:
    with closing(Ledger(state)) as ledger:
        policy = PolicyInForce(ledger.env, policy_file.load(None))
        with ledger.changing() as log:
            PolicyStore(ledger.env).adopt(log, policy_file.text_of(None), by="benchmark")
        cases = Casework(ledger.env, ledger.sealing, policy, lambda _verb: ["platform"], clocks=ClocksInForce(policy))
        ledger.consequences = cases
        webhook = Webhook("platform", GuardedHttp(url, Egress(["127.0.0.0/8"])), [Secret(key)])
        sender = Sender(ledger, cases, {"platform": Line(webhook)})
        sender.start()
        began, cpu = time.perf_counter(), time.process_time()
        took, appended = load(ledger, began + SECONDS)
        until = time.perf_counter()
        cpu = time.process_time() - cpu
        waiting = unsettled(ledger, cases)
        while unsettled(ledger, cases) and time.perf_counter() < until + 120:
            time.sleep(0.05)
        drained = time.perf_counter()
        sender.close()
        left = unsettled(ledger, cases)
        instructions = sum(1 for _ in every(ledger, cases))
    took.sort()
    rate, whole = appended / (until - began), appended / (drained - began)
    report.table(
        "Verdict → case → outbox → delivery → confirmation",
        [
            {"what": "matches acknowledged per s", "figure": rate, "limit": LIMIT},
            {"what": "matches through to confirmation per s", "figure": whole, "limit": LIMIT},
            {"what": "instructions confirmed per s", "figure": instructions / (drained - began), "limit": ""},
            {"what": "acknowledged within, p50 ms", "figure": 1000 * took[len(took) // 2], "limit": ""},
            {"what": "acknowledged within, p99 ms", "figure": 1000 * took[len(took) * 99 // 100], "limit": ""},
            {"what": "waiting when the last was acknowledged", "figure": waiting, "limit": ""},
            {"what": "seconds until none was", "figure": drained - until, "limit": ""},
            {"what": "left unconfirmed", "figure": left, "limit": 0},
            {"what": "CPU ms per match, this process", "figure": 1000 * cpu / appended, "limit": ""},
            {"what": "problems that the verifier finds", "figure": problems(state), "limit": 0},
        ],
    )


def measure_vault(report: Report, folder: Path) -> None:
    """What the vault adds to a MATCH: its media is sealed and synced before it is written."""
    create_master_file(folder / "master")
    vault = Vault(folder / "vault", FileMaster(folder / "master"))
    vault.prove()
    rows = []
    for size in (100_000, 1_000_000, 10_000_000):
        media, took = os.urandom(size), []
        for number in range(200 if size < 10_000_000 else 40):
            began = time.perf_counter()
            vault.seal(f"v_{size}_{number}", media, media_type="image/jpeg", at=clock.now())
            took.append(time.perf_counter() - began)
        opened = time.perf_counter()
        with vault.open(f"v_{size}_0")[0] as file:
            assert len(file.read()) == size
        opened = time.perf_counter() - opened
        took.sort()
        row = {"bytes": size, "seal p50 ms": 1000 * took[len(took) // 2], "p99 ms": 1000 * took[len(took) * 99 // 100]}
        rows.append({**row, "open and read ms": 1000 * opened})
    report.table("Evidence: sealed, synced, and read again", rows)


def load(ledger: Ledger, until: float) -> tuple[list[float], int]:
    """Appends until then; seconds that each took, and how many."""
    took: list[float] = []
    lock, numbers = threading.Lock(), iter(range(10**9))

    def ask() -> None:
        while time.perf_counter() < until:
            with lock:
                number = next(numbers)
            began = time.perf_counter()
            ledger.append(match(number), log=True, remember=False).result()
            took.append(time.perf_counter() - began)

    threads = [threading.Thread(target=ask) for _ in range(ASKING)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took, len(took)


def every(ledger: Ledger, cases: Casework):  # type: ignore[no-untyped-def]
    after = ""
    while True:
        with ledger.env.read() as txn:
            page, following = cases.outbox.page(txn, after=after, limit=1000)
        yield from page
        if not following:
            return
        after = following


def unsettled(ledger: Ledger, cases: Casework) -> int:
    return sum(one.state != DISPATCH_STATE_CONFIRMED for one in every(ledger, cases))


def problems(state: Path) -> int:
    out = state / "export"
    with closing(Ledger(state)) as ledger:
        ledger.sign()
        export(ledger, out)
        with ledger.reading() as log:
            key = log.verifier_key
    found = verify.verify(out, [verify.key_of(key)])
    return len(found.problems)


if __name__ == "__main__":
    main()
