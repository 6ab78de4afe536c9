"""A second maker of exports, to hold the verifier against: it shares audit.proto with it, and no line of code.

Trees are computed as RFC 6962 defines them, by recursion; notes are written out by hand. Slow, and easy to believe.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hashmatch.v1 import audit_pb2 as pb
from hashmatch.v1.audit_pb2 import Event

ORIGIN = "log.example/second"
NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
LEAVES_PER_FILE = 65_536
FACTS = 30  # of `sound`, one round


def key(number: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def root(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + root(leaves[:split]) + root(leaves[split:])).digest()


def frontier(leaves: Sequence[bytes]) -> list[bytes]:
    """Roots of the complete subtrees, largest first: one for each bit of the number of leaves."""
    found = []
    while leaves:
        whole = 1 << (len(leaves).bit_length() - 1)
        found.append(root(leaves[:whole]))
        leaves = leaves[whole:]
    return found


@dataclass(frozen=True)
class Signer:
    """A key of a log (kind 1) or of a witness (kind 4)."""

    private: Ed25519PrivateKey
    name: str = ORIGIN
    kind: int = 1

    @property
    def public(self) -> bytes:
        return bytes([self.kind]) + self.private.public_key().public_bytes_raw()

    @property
    def id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(self.public).decode()}"

    def line(self, text: bytes, at: int = 1_760_000_000) -> bytes:
        if self.kind == 1:
            signature = self.private.sign(text)
        else:
            signature = at.to_bytes(8, "big") + self.private.sign(b"cosignature/v1\ntime %d\n" % at + text)
        return f"— {self.name} {base64.b64encode(self.id + signature).decode()}\n".encode()


OURS, NEXT, STRANGER = Signer(key(1)), Signer(key(2)), Signer(key(3))


def note(leaves: Sequence[bytes], *signers: Signer, origin: str = ORIGIN) -> bytes:
    """A checkpoint of these leaves."""
    text = f"{origin}\n{len(leaves)}\n{base64.b64encode(root(leaves)).decode()}\n".encode()
    return text + b"\n" + b"".join(signer.line(text) for signer in signers)


def _round(number: int) -> list[Event]:
    """Facts of every kind that agree with one another, and with earlier rounds."""
    revision, case, run = 2 * number, f"c{number}", f"run{number}"
    grant = pb.Granted(grant_id=f"g{number}", case_id=case, to="ann", by=["bob"], level="grey", purpose="review")
    grant.until.FromDatetime(NOON + timedelta(days=900))
    verdicts = [
        Event(verdict=pb.VerdictRecord(verdict_id=f"v{number}.{n}", finding=finding, media_bytes=9 + n))
        for n, finding in enumerate([1, 1, 1, 1, 2, 3])
    ]
    for event in verdicts:
        event.verdict.coverage.revision = revision + 1
        event.verdict.matches.add(list="known", entry_id="e", hash_type="pdq", threshold=31)
        event.sealed.key_id, event.sealed.box = bytes(16), bytes(60)
    for event in verdicts[:3]:
        event.verdict.case_id = case
    verdicts[2].verdict.retro.list = "known"
    verdicts[3].verdict.no_case = pb.NO_CASE_SHADOW
    counted = pb.Counted()
    counted.counts.add(surface="s", finding=1, count=3)
    counted.counts.add(surface="s", finding=2, count=70)
    return [
        Event(started=pb.Started(run=run, revision=revision)),
        Event(list_changed=pb.ListChanged(revision=revision + 1, list="known")),
        Event(credential_changed=pb.CredentialChanged(number=2 * number + 1, name="ann")),
        *verdicts,
        Event(counted=counted),
        Event(list_changed=pb.ListChanged(revision=revision + 2, list="known")),
        Event(credential_changed=pb.CredentialChanged(number=2 * number + 2, name="ann", revoked=True)),
        Event(case_step=pb.CaseStep(case_id=case, step="OPEN")),
        Event(granted=grant),
        Event(revealed=pb.Revealed(grant_id=f"g{number}", case_id=case, by="ann", level="grey", seconds=3)),
        Event(hold_changed=pb.HoldChanged(hold_id=f"h{number}", case_id=case, kind="LEGAL_HOLD")),
        Event(hold_changed=pb.HoldChanged(hold_id=f"p{number}", case_id=case, kind="PRESERVATION")),
        Event(delivered=pb.Delivered(dispatch_id="d", case_id=case, outcome="CONFIRMED")),
        Event(reported=pb.Reported(report_id="r", case_id=case, state="OPENED")),
        Event(reported=pb.Reported(report_id="r", case_id=case, state="FINISHED", receipt="4711")),
        Event(entry_held=pb.EntryHeld(list="known", entry_id="e")),
        Event(entry_released=pb.EntryReleased(list="known", entry_id="e")),
        Event(hold_changed=pb.HoldChanged(hold_id=f"h{number}", case_id=case, released=True)),
        Event(hold_changed=pb.HoldChanged(hold_id=f"p{number}", case_id=case, released=True)),
        Event(destroyed=pb.Destroyed(case_id=case, ground="retention")),
        Event(erased=pb.Erased(key_ids=[bytes(16)], ground="retention")),
        Event(log_read=pb.LogRead(by="eve", how="log export")),
        Event(gap=pb.Gap(kind=pb.GAP_KIND_CLOCK_SET_BACK)),
        Event(gap=pb.Gap(kind=pb.GAP_KIND_CLOCK_SET_FORWARD)),
        Event(gap=pb.Gap(kind=pb.GAP_KIND_CRASH, run=run)) if number % 2 else Event(stopped=pb.Stopped(run=run)),
    ]


def sound(number: int) -> list[Event]:
    """So many events that agree with one another, of every kind; the clock goes back where one says so."""
    events = [event for n in range(1 + number // FACTS) for event in _round(n)][:number]
    at = NOON
    for event in events:
        at -= timedelta(hours=1) if event.gap.kind == pb.GAP_KIND_CLOCK_SET_BACK else -timedelta(minutes=1)
        event.at.FromDatetime(at)
    return events


def encoded(events: Sequence[Event]) -> list[bytes]:
    """Leaves, numbered from 1."""
    leaves = []
    for sequence, event in enumerate(events, 1):
        event.sequence = sequence
        leaves.append(event.SerializeToString(deterministic=True))
    return leaves


def edited(leaf: bytes, change: Callable[[Event], object]) -> bytes:
    event = Event.FromString(leaf)
    change(event)
    return event.SerializeToString(deterministic=True)


@dataclass
class Made:
    """An export to be, all of which may be changed before it is written."""

    leaves: list[bytes]  # of the whole log, whatever `first` is
    first: int = 1
    every: int = 16  # leaves between two checkpoints
    signers: tuple[Signer, ...] = (OURS,)
    manifest: dict[str, object] = field(default_factory=dict)
    notes: dict[str, bytes] = field(default_factory=dict)

    def sign(self, after: int = 0) -> Made:
        """Makes manifest and checkpoints that fit the leaves; earlier checkpoints up to a size stay."""
        last, first = len(self.leaves), self.first
        self.notes = {name: text for name, text in self.notes.items() if int(name[:20]) <= after}
        for size in sorted({*range(self.every, last, self.every), last}):
            if size >= max(first, after + 1):
                self.notes[f"{size:020}.note"] = note(self.leaves[:size], *self.signers)
        self.manifest = {
            "format": 1, "origin": ORIGIN, "first": first, "last": last, "keys": [s.vkey for s in self.signers],
            "frontier": [one.hex() for one in frontier(self.leaves[: first - 1])],
            "written_by": "nobody", "at": "2026-03-01T12:00:00Z",
        }  # fmt: skip
        return self

    def write(self, to: Path) -> Path:
        """Makes the directory, or makes it anew."""
        for folder in ("leaves", "checkpoints"):
            (to / folder).mkdir(parents=True, exist_ok=True)
            for path in (to / folder).iterdir():
                path.unlink()
        self.write_leaves(to)
        for name, text in self.notes.items():
            (to / "checkpoints" / name).write_bytes(text)
        self.write_manifest(to)
        return to

    def write_leaves(self, to: Path) -> None:
        exported = self.leaves[self.first - 1 :]
        for number, at in enumerate(range(0, len(exported), LEAVES_PER_FILE)):
            framed = (len(leaf).to_bytes(4, "big") + leaf for leaf in exported[at : at + LEAVES_PER_FILE])
            (to / "leaves" / f"{number:08}.leaves").write_bytes(b"".join(framed))

    def write_manifest(self, to: Path) -> None:
        (to / "manifest.json").write_text(json.dumps(self.manifest))


def made(number: int, **more: object) -> Made:
    """A sound log of so many events, signed."""
    return Made(encoded(sound(number)), **more).sign()  # type: ignore[arg-type]


def inclusion(leaves: Sequence[bytes], at: int) -> list[bytes]:
    """RFC 6962, 2.1.1: the hashes beside a leaf's way to the root, from the leaf upwards."""
    if len(leaves) < 2:
        return []
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    if at < split:
        return [*inclusion(leaves[:split], at), root(leaves[split:])]
    return [*inclusion(leaves[split:], at - split), root(leaves[:split])]


def proof(leaves: Sequence[bytes], sequence: int) -> bytes:
    """That an event is in the tree of these leaves: https://c2sp.org/tlog-proof."""
    lines = [
        b"c2sp.org/tlog-proof@v1",
        b"extra " + base64.b64encode(leaves[sequence - 1]),
        b"index %d" % (sequence - 1),
    ]
    lines += map(base64.b64encode, inclusion(leaves, sequence - 1))
    return b"\n".join([*lines, b"", b""]) + note(leaves, OURS)
