"""Logs made by the real ledger, with every kind of event in them, and exports of them that may be tampered with."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hashmatch.audit import verify
from hashmatch.audit.export import export
from hashmatch.audit.ledger import Ledger
from hashmatch.audit.note import Signer
from hashmatch.audit.runs import Run
from hashmatch.v1 import audit_pb2, common_pb2
from hashmatch.v1.audit_pb2 import Event, VerdictRecord

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def match(number: int, uploader: str = "someone") -> VerdictRecord:
    """A MATCH, always the same for a number."""
    record = VerdictRecord(verdict_id=f"v_{number:08}", finding=common_pb2.FINDING_MATCH, no_case=2, media_bytes=number)
    record.at.FromDatetime(NOON)
    record.subject.uploader_id, record.subject.content_id = uploader, f"content-{number}"
    record.subject.surface = "avatars"
    hashed = record.hashed.add(hash_type="pdq")
    hashed.fingerprint.hash_type, hashed.fingerprint.value = "pdq", number.to_bytes(32)
    record.matches.add(list="known", entry_id=f"e{number}", hash_type="pdq", distance=number % 32, threshold=31)
    return record


def workflow() -> list[Event]:
    """A case's life in facts that agree with one another."""
    until = NOON + timedelta(days=1)
    granted = audit_pb2.Granted(
        grant_id="g1", case_id="c1", to="ann", by=["bob", "eve"], level="grey", purpose="review"
    )
    granted.until.FromDatetime(until)
    return [
        Event(case_step=audit_pb2.CaseStep(case_id="c1", step="OPEN", state="OPEN", verdict_ids=["v_00000001"])),
        Event(granted=granted),
        Event(revealed=audit_pb2.Revealed(grant_id="g1", case_id="c1", by="ann", level="grey", seconds=4)),
        Event(hold_changed=audit_pb2.HoldChanged(hold_id="h1", case_id="c1", kind="PRESERVATION")),
        Event(reported=audit_pb2.Reported(report_id="r1", case_id="c1", state="FINISHED", receipt="4711")),
        Event(delivered=audit_pb2.Delivered(dispatch_id="d1", case_id="c1", verb="remove", outcome="CONFIRMED")),
        Event(hold_changed=audit_pb2.HoldChanged(hold_id="h1", case_id="c1", released=True, by=["ann", "bob"])),
        Event(destroyed=audit_pb2.Destroyed(case_id="c1", ground="retention", by=["ann", "bob"])),
    ]


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now


def opened(state: Path, now: Callable[[], datetime] | None = None, *, run: bool = True) -> Ledger:
    return Ledger(
        state, now=now or Clock(), run=Run({"hashmatch": "0"}, bytes(32), 0) if run else None, origin="log.example/test"
    )


def write(state: Path, facts: Iterable[Event | VerdictRecord], *, sign_every: int = 0) -> None:
    """A log of these facts, begun and ended in order, with a checkpoint after every so many."""
    with closing(opened(state)) as ledger:
        for number, fact in enumerate(facts, 1):
            if isinstance(fact, VerdictRecord):
                ledger.append(fact, log=True, remember=False).result(10)
                ledger.count("avatars", common_pb2.FINDING_MATCH, NOON)
            else:
                ledger.record(fact).result(10)
            if sign_every and not number % sign_every:
                ledger.sign()


@dataclass
class Export:
    """An export, and the key that it should be signed by."""

    path: Path
    key: str
    signer: Signer

    def leaves(self) -> list[bytes]:
        data, found = (self.path / "leaves" / "00000000.leaves").read_bytes(), []
        while data:
            length = 4 + int.from_bytes(data[:4])
            found.append(data[4:length])
            data = data[length:]
        return found

    def put_leaves(self, leaves: Iterable[bytes]) -> None:
        data = b"".join(len(leaf).to_bytes(4) + leaf for leaf in leaves)
        (self.path / "leaves" / "00000000.leaves").write_bytes(data)

    def checkpoints(self) -> list[Path]:
        return sorted((self.path / "checkpoints").iterdir())

    def copy(self, to: Path) -> Export:
        shutil.copytree(self.path, to)
        return Export(to, self.key, self.signer)

    def report(self, **more: object) -> verify.Report:
        return verify.verify(self.path, [verify.key_of(self.key)], **more)  # type: ignore[arg-type]


def exported(state: Path, to: Path, *, first: int = 1) -> Export:
    with closing(opened(state, run=False)) as ledger:
        export(ledger, to, first=first)
        with ledger.reading() as log:
            signer = ledger.checkpoints._signing(log.txn)
            return Export(to, ledger.checkpoints.verifier_key(log.txn), signer)
