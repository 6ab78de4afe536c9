#!/usr/bin/env python3
"""Verifies an exported hashmatch log, with nothing but Python (3.9 or newer) and the package `cryptography`.

    python verify.py DIR --key KEYFILE [--since OLD.note] [--witness KEYFILE --quorum N] [--json]

This file imports nothing of hashmatch: read it, or write your own from docs/log-format.md. What it establishes:

1. Every leaf is hashed, SHA-256(00 ‖ leaf), into the Merkle tree of RFC 6962: node = SHA-256(01 ‖ left ‖ right), where
   the left subtree of n leaves has the largest power of two below n. A leaf that is changed, missing, added or moved
   changes the root.
2. Every checkpoint (a C2SP signed note: the log's name, a size, a root) must bear a signature of a key that you trust,
   and its root must be that of the first `size` leaves. So any two checkpoints are consistent with one another. A new
   key is trusted once a checkpoint that a trusted key signed covers the event which announces it; the old one ends.
3. Leaves are protobuf messages `Event` (schema/audit.proto), numbered 1, 2, 3 … in an order of time that only an event
   which says so may break.
4. What is told in one place agrees with what is told in another: every match has a case or says why not, every
   finished report its receipt, every look at evidence its grant; lists' changes are complete, and no verdict knows a
   revision that the log does not.

A log that was rewritten as a whole, and signed again by its own key, is caught only by what you kept: an earlier
checkpoint (--since), or a witness's signature (--witness).

Exit code: 0 sound, 1 tampered with, 2 usage, 3 not the log that was seen before, 4 signature or key, 5 unreadable.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

TAMPERED, USAGE, FORKED, SIGNATURE, UNREADABLE = 1, 2, 3, 4, 5  # exit codes
LEAVES_PER_FILE = 65_536
MAX_LEAF_BYTES = 64 << 20
SHOWN = 20  # problems printed; all that are kept are in --json
MAX_PROBLEMS = 1000  # after which nobody need read on; so rubbish cannot keep the verifier busy
EMPTY_ROOT = hashlib.sha256().digest()

# ── protobuf, as much of it as is needed ────────────────────────────────────────────────────────────────────────────

Message = dict[int, list[Any]]
"""Field number → its values in order: numbers, or the bytes of texts and messages."""


class Unparsable(Exception):
    """Bytes that are not a protobuf message, or not one that we would write."""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise Unparsable
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


def parsed(data: bytes) -> Message:
    """The fields of a message. https://protobuf.dev/programming-guides/encoding/"""
    found: Message = {}
    at, end = 0, len(data)
    try:
        while at < end:
            tag = data[at]  # nearly every tag and length is one byte: no call for those, which halves the time
            if tag < 0x80:
                at += 1
            else:
                tag, at = _varint(data, at)
            kind = tag & 7
            value: int | bytes
            if kind == 2:
                length = data[at]
                if length < 0x80:
                    at += 1
                else:
                    length, at = _varint(data, at)
            elif kind == 0:
                length = 0
            elif kind in (1, 5):
                length = 8 if kind == 1 else 4
            else:
                raise Unparsable
            if kind:
                value = data[at : at + length]
                at += length
            else:
                value = data[at]
                if value < 0x80:
                    at += 1
                else:
                    value, at = _varint(data, at)
            if at > end or tag < 8:
                raise Unparsable
            if tag >> 3 in found:
                found[tag >> 3].append(value)
            else:
                found[tag >> 3] = [value]
    except IndexError:
        raise Unparsable from None
    return found


def _one(message: Message, field_: int, absent: Any) -> Any:
    """The value of a field that is there once. Others might read a second value where we read the first."""
    values = message.get(field_)
    if values is None:
        return absent
    if len(values) != 1 or type(values[0]) is not type(absent):
        raise Unparsable
    return values[0]


def number(message: Message, field_: int) -> int:
    """A number; 0 where it is not set."""
    value: int = _one(message, field_, 0)
    return value


def raw(message: Message, field_: int) -> bytes:
    """Bytes; empty where they are not set."""
    value: bytes = _one(message, field_, b"")
    return value


def text(message: Message, field_: int) -> str:
    """A text; "" where it is not set."""
    return raw(message, field_).decode()


def moment(message: Message, field_: int) -> tuple[int, int] | None:
    """A google.protobuf.Timestamp as seconds and nanoseconds; None where it is not set."""
    if field_ not in message:
        return None
    stamp = parsed(raw(message, field_))
    seconds = number(stamp, 1)
    return (seconds - (1 << 64) if seconds >> 63 else seconds, number(stamp, 2))


# Fields of `Event`: sequence = 1, at = 2, and one of these facts. Numbers are schema/audit.proto's.
VERDICT, LIST_CHANGED, COUNTED, STARTED, STOPPED, GAP, CREDENTIAL, LOG_KEY = 3, 4, 5, 6, 7, 8, 9, 10
GRANTED, REVEALED, REPORTED, HOLD, DESTROYED = 16, 17, 19, 20, 21
SEALED = 30
KNOWN_FACTS = range(3, 28)
MATCH = 1  # Finding
CRASH, SET_BACK = 1, 2  # GapKind

# ── signed notes ────────────────────────────────────────────────────────────────────────────────────────────────────

Key = tuple[str, bytes, int, bytes]
"""Name, hash, algorithm, public key."""
ED25519, COSIGNATURE = 1, 4


def _base64(encoded: str) -> bytes:
    """The bytes, where this is the one way to write them: else a bit could be flipped unseen."""
    decoded = base64.b64decode(encoded, validate=True)
    if base64.b64encode(decoded).decode() != encoded:
        raise ValueError("not canonical base64")
    return decoded


def key_of(line: str) -> Key:
    """A verifier key, name+hash+base64. https://c2sp.org/signed-note"""
    name, key_hash, encoded = line.strip().split("+", 2)
    public = _base64(encoded)
    wanted = hashlib.sha256(name.encode() + b"\n" + public).digest()[:4]
    if bytes.fromhex(key_hash) != wanted or len(public) != 33 or public[0] not in (ED25519, COSIGNATURE):
        raise ValueError("not a verifier key that is known here")
    return name, wanted, public[0], public[1:]


def keys_in(path: Path) -> list[Key]:
    """The keys in a file, one a line; `#` begins a comment. Raises ValueError, also where there is none."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    found = [key_of(line) for line in lines if line]
    if not found:
        raise ValueError(f"{path} holds no key")
    return found


@dataclass
class Checkpoint:
    """One signed note."""

    origin: str
    size: int
    root: bytes
    text: bytes
    signatures: list[tuple[str, bytes, bytes]]  # name, hash of the key, signature

    @classmethod
    def parse(cls, note: bytes) -> Checkpoint:
        """https://c2sp.org/tlog-checkpoint. Raises ValueError."""
        head, middle, lines = note.rpartition(b"\n\n")
        if not middle or not lines.endswith(b"\n"):
            raise ValueError("not a signed note")
        origin, size, root = head.decode().split("\n")[:3]
        signatures = []
        for line in lines.decode()[:-1].split("\n"):
            dash, name, encoded = line.split(" ")
            signed = _base64(encoded)
            if dash != "\u2014" or len(signed) < 5:
                raise ValueError("not a line of signature")
            signatures.append((name, signed[:4], signed[4:]))
        found = cls(origin, int(size), _base64(root), head + b"\n", signatures)
        if str(found.size) != size or len(found.root) != 32:
            raise ValueError("not a checkpoint")
        return found

    def signed_by(self, keys: Sequence[Key]) -> tuple[int, int]:
        """How many of these keys signed it, each counted once, and how many signatures of theirs are wrong."""
        right, wrong = set(), 0
        for name, key_hash, algorithm, public in keys:
            for signer, signer_hash, signature in self.signatures:
                if (signer, signer_hash) == (name, key_hash):
                    if _verifies(algorithm, public, self.text, signature):
                        right.add(public)  # one key under two names is one
                    else:
                        wrong += 1
        return len(right), wrong


def _verifies(algorithm: int, public: bytes, signed: bytes, signature: bytes) -> bool:
    if algorithm == COSIGNATURE:  # https://c2sp.org/tlog-cosignature: eight bytes of time, then Ed25519
        signed = b"cosignature/v1\ntime %d\n" % int.from_bytes(signature[:8], "big") + signed
        signature = signature[8:]
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, signed)
    except (InvalidSignature, ValueError):
        return False
    return True


# ── what is found ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Problem:
    """One thing that is wrong."""

    kind: str
    sequence: int  # of the event, or of the first where it is one of several; 0: of none
    what: str
    code: int = TAMPERED


@dataclass
class Report:
    """What verifying came to."""

    origin: str = ""
    first: int = 0
    last: int = 0
    leaves: int = 0
    checkpoints: int = 0
    facts: Counter[int] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, sequence: int, what: str, code: int = TAMPERED) -> None:
        """Notes a problem."""
        self.problems.append(Problem(kind, sequence, what, code))

    @property
    def first_bad(self) -> int:
        """The first event that something is wrong with, or after which something may be; 0: none is known."""
        return min((problem.sequence for problem in self.problems if problem.sequence), default=0)

    @property
    def code(self) -> int:
        """The exit code: what cannot be read comes first, then keys, then tampering; a fork alone is a fork."""
        codes = {problem.code for problem in self.problems}
        return next((code for code in (UNREADABLE, SIGNATURE, TAMPERED, FORKED) if code in codes), 0)


class Stop(Exception):
    """Nothing can be verified any further."""


# ── the tree ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Tree:
    """The roots of the complete subtrees of all leaves so far, left to right: enough for any later root."""

    def __init__(self, subtrees: list[bytes], size: int) -> None:
        self.subtrees, self.size = subtrees, size

    def append(self, leaf: bytes) -> None:
        found, size = hashlib.sha256(b"\0" + leaf).digest(), self.size
        while size & 1:  # two complete subtrees of one size become one
            found = hashlib.sha256(b"\1" + self.subtrees.pop() + found).digest()
            size >>= 1
        self.subtrees.append(found)
        self.size += 1

    def root(self) -> bytes:
        if not self.subtrees:
            return EMPTY_ROOT
        found = self.subtrees[-1]
        for left in reversed(self.subtrees[:-1]):
            found = hashlib.sha256(b"\1" + left + found).digest()
        return found


# ── whose signatures count ──────────────────────────────────────────────────────────────────────────────────────────


class Trust:
    """The keys that may sign this log, which the log itself changes: only in a tree that a trusted key has signed.

    An event that announces a key proves nothing yet, since whoever forges a log can write it. The checkpoint that
    covers it does, when it is signed by a key that was trusted before.
    """

    def __init__(self, report: Report, keys: Sequence[Key]) -> None:
        self.report, self.keys = report, list(keys)
        self.ever = list(keys)  # for a checkpoint from earlier
        self.announced: list[tuple[Key, Key, int]] = []  # the new, the old, sequence: since the last checkpoint

    def announce(self, new: str, old: str, sequence: int) -> None:
        """An event says that the log has a new key."""
        try:
            key = key_of(new)
            if not old and sequence == 1:  # the log's first key: nothing follows from it
                return
            previous = key_of(old)
        except ValueError:
            self.report.add("WRONG_KEY", sequence, "the log's key was changed to or from what is no key", SIGNATURE)
            return
        if previous not in self.keys and previous not in (one[0] for one in self.announced):
            self.report.add("WRONG_KEY", sequence, "the log's key was changed by one that is not trusted", SIGNATURE)
            return
        self.announced.append((key, previous, sequence))

    def check(self, checkpoint: Checkpoint, same: bool) -> None:
        """Holds a checkpoint's signatures against the keys; `same`: its root is that of the events before it."""
        size, report = checkpoint.size, self.report
        right, wrong = checkpoint.signed_by(self.keys)
        wrong += checkpoint.signed_by([new for new, _, _ in self.announced])[1]
        if wrong:
            report.add("BAD_SIGNATURE", 0, f"the checkpoint of size {size} has a signature that is wrong", SIGNATURE)
        elif not right:
            report.add("WRONG_KEY", 0, f"no trusted key signed the checkpoint of size {size}", SIGNATURE)
        elif same:
            for new, old, sequence in self.announced:
                self.keys = [key for key in self.keys if key != old] + [new]
                self.ever.append(new)
                report.notes.append(f"event {sequence}: from here on the log is signed by {new[0]}+{new[1].hex()}")
            self.announced.clear()


# ── what events say of one another ──────────────────────────────────────────────────────────────────────────────────


class Events:
    """Reads the leaves in order, and holds each against those before it."""

    def __init__(self, report: Report, trust: Trust, whole: bool) -> None:
        self.report, self.trust, self.whole = report, trust, whole  # `whole`: the log is here from its beginning
        self.at: tuple[int, int] | None = None
        self.highest = report.first - 1  # sequence so far
        self.gaps: list[tuple[int, int]] = []  # sequences below it that have not come, first and last
        self.revision = self.credential = 0
        self.runs: dict[str, int] = {}
        self.grants: dict[str, tuple[str, str, str, tuple[int, int]]] = {}
        self.holds: dict[str, set[str]] = {}  # case → holds that are in force
        self.matches = self.counted = 0
        self.unchecked: Counter[str] = Counter()  # what could not be held against anything, by why

    def read(self, expected: int, leaf: bytes) -> None:
        """One leaf, which should be the event of that sequence."""
        try:
            event = parsed(leaf)
            sequence = number(event, 1)
        except Unparsable:
            event, sequence = {}, self.highest + 1
        self._place(sequence, expected)
        facts = [field_ for field_ in event if 2 < field_ != SEALED]
        try:
            if len(facts) != 1:
                raise Unparsable
            it = parsed(raw(event, facts[0]))
            self._time(event, facts[0], it, expected)
            self._fact(facts[0], it, expected)
            self.report.facts[facts[0]] += 1
        except (Unparsable, UnicodeDecodeError):
            self.report.add("LEAF_CHANGED", expected, "the leaf does not parse as an Event of one fact")

    def _place(self, sequence: int, expected: int) -> None:
        """Where an event stands among the others: each number once, and in order."""
        if sequence == self.highest + 1:
            self.highest = sequence
        elif self.highest < sequence <= self.report.last:
            self.gaps.append((self.highest + 1, sequence - 1))
            self.highest = sequence
        elif any(low <= sequence <= high for low, high in self.gaps):
            self.report.add("LEAF_SWAPPED", expected, f"event {sequence} comes after event {self.highest}")
            self.gaps = [part for gap in self.gaps for part in _without(gap, sequence)]
        elif 0 < sequence <= self.highest:
            self.report.add("LEAF_DUPLICATED", expected, f"event {sequence} comes twice")
        else:
            self.report.add("LEAF_CHANGED", expected, f"an event is numbered {sequence}")
            self.highest += 1

    def finish(self) -> None:
        """Says which numbers never came."""
        for low, high in self.gaps:
            which = f"event {low} is" if low == high else f"events {low} to {high} are"
            self.report.add("LEAF_MISSING", low, f"{which} missing")
        for run, sequence in self.runs.items():
            self.report.notes.append(f"the process that started at event {sequence} was running at the end ({run})")
        for why, times in self.unchecked.items():
            self.report.notes.append(f"not checked: {times} {why}")

    def _time(self, event: Message, fact: int, it: Message, sequence: int) -> None:
        at = moment(event, 2)
        if at is None:
            self.report.add("LEAF_CHANGED", sequence, "the event has no time")
            return
        set_back = fact == GAP and number(it, 1) == SET_BACK
        if self.at is not None and at < self.at and not set_back:
            self.report.add("CLOCK_BACK", sequence, "the event is earlier than the one before, and no gap says why")
        self.at = at

    def _fact(self, fact: int, it: Message, sequence: int) -> None:
        if fact == VERDICT:
            self._verdict(it, sequence)
        elif fact == LIST_CHANGED:
            self.revision = self._next("lists", number(it, 1), self.revision, sequence)
        elif fact == CREDENTIAL:
            self.credential = self._next("keys to the service", number(it, 1), self.credential, sequence)
        elif fact == COUNTED:
            self.counted += sum(number(c, 5) for c in map(parsed, _messages(it, 1)) if number(c, 3) == MATCH)
            if self.whole and self.counted > self.matches:
                self.report.add("MATCH_UNLOGGED", sequence, "more matches were counted than are in the log")
        elif fact in (STARTED, STOPPED, GAP):
            self._run(fact, it, sequence)
        elif fact == LOG_KEY:
            self.trust.announce(text(it, 1), text(it, 2), sequence)
        elif fact == GRANTED:
            until = moment(it, 7) or (0, 0)
            self.grants[text(it, 1)] = (text(it, 2), text(it, 3), text(it, 5), until)
        elif fact == REVEALED:
            self._revealed(it, sequence)
        elif fact == REPORTED:
            if text(it, 4) == "FINISHED" and not text(it, 5):
                self.report.add(
                    "REPORT_WITHOUT_RECEIPT", sequence, f"report {text(it, 1)} is finished without a receipt"
                )
        elif fact == HOLD:
            holds = self.holds.setdefault(text(it, 2), set())
            change = holds.discard if number(it, 4) else holds.add
            change(text(it, 1))
        elif fact == DESTROYED:
            if self.holds.get(text(it, 1)):
                self.report.add("DESTROYED_UNDER_HOLD", sequence, f"evidence of case {text(it, 1)} was under a hold")
        elif fact not in KNOWN_FACTS:
            self.unchecked["events of kinds that this verifier is too old to know"] += 1

    def _verdict(self, it: Message, sequence: int) -> None:
        if number(it, 12) == MATCH:
            self.matches += 20 not in it  # what was judged again was never counted as it came
            if not text(it, 21) and not number(it, 22):
                self.report.add("MATCH_WITHOUT_CASE", sequence, "a match has no case, and does not say why")
        knew = _revision(raw(it, 15))
        if knew > self.revision and (self.whole or self.revision):
            self.report.add(
                "LIST_CHANGE_MISSING", sequence, f"a verdict knew revision {knew}, the log has {self.revision}"
            )

    def _next(self, what: str, found: int, last: int, sequence: int) -> int:
        if found != last + 1 and (last or self.whole):
            self.report.add("CHANGE_MISSING", sequence, f"change {found} of the {what} follows {last}")
        return found

    def _run(self, fact: int, it: Message, sequence: int) -> None:
        if fact == STARTED:
            if text(it, 1) in self.runs:
                self.report.add("RUN_TWICE", sequence, "a process started that runs already")
            self.runs[text(it, 1)] = sequence
        elif fact == STOPPED or number(it, 1) == CRASH:
            run = text(it, 1 if fact == STOPPED else 2)
            if self.runs.pop(run, None) is None and self.whole:
                self.report.add("RUN_UNKNOWN", sequence, "a process ended that never started")
            if fact == GAP:
                self.report.notes.append(
                    f"event {sequence}: a process crashed; its last minute's counts may be missing"
                )
        elif fact == GAP:
            self.report.notes.append(f"event {sequence}: the clock was set")

    def _revealed(self, it: Message, sequence: int) -> None:
        case, to, level, until = self.grants.get(text(it, 1), ("", "", "", (0, 0)))
        right = (
            (case, to, level) == (text(it, 2), text(it, 3), text(it, 4)) and self.at is not None and self.at <= until
        )
        if not (self.whole or text(it, 1) in self.grants):
            self.unchecked["looks at evidence, whose grants are from before these events"] += 1
        elif not right:
            self.report.add(
                "REVEAL_WITHOUT_GRANT", sequence, f"evidence of case {text(it, 2)} was seen without a grant"
            )


def _without(gap: tuple[int, int], sequence: int) -> list[tuple[int, int]]:
    """A range of numbers without one, in the parts that are left."""
    parts = [(gap[0], min(gap[1], sequence - 1)), (max(gap[0], sequence + 1), gap[1])]
    return [gap] if not gap[0] <= sequence <= gap[1] else [part for part in parts if part[0] <= part[1]]


def _messages(message: Message, field_: int) -> list[bytes]:
    return [value for value in message.get(field_, []) if isinstance(value, bytes)]


@lru_cache(maxsize=256)  # of the same lists, most verdicts have the same coverage
def _revision(coverage: bytes) -> int:
    return number(parsed(coverage), 1)


# ── the whole ───────────────────────────────────────────────────────────────────────────────────────────────────────


def verify(
    folder: Path,
    keys: Sequence[Key],
    *,
    since: bytes | None = None,
    witnesses: Sequence[Key] = (),
    quorum: int = 0,
    progress: Any = None,
) -> Report:
    """What verifying an export comes to. `since`: a checkpoint of this log that was kept elsewhere."""
    report = Report()
    with suppress(Stop):
        _verify(folder, list(keys), report, since, witnesses, quorum, progress)
    return report


def _verify(
    folder: Path,
    keys: list[Key],
    report: Report,
    since: bytes | None,
    witnesses: Sequence[Key],
    quorum: int,
    progress: Any,
) -> None:
    frontier = _manifest(folder, report)
    checkpoints = _checkpoints(folder, report)
    old = _earlier(since, report)
    trust = Trust(report, [key for key in keys if key[0] == report.origin])  # a key signs the log of its name
    if not trust.keys:
        names = ", ".join(sorted({key[0] for key in keys}))
        report.add("WRONG_LOG", 0, f"the export is of the log {report.origin}, the keys are of {names}", SIGNATURE)
    tree, events = Tree(frontier, report.first - 1), Events(report, trust, report.first == 1)
    good = report.first - 1  # leaves up to here are vouched for
    _against(old, tree, report)
    changed = False
    for leaf in _leaves(folder, report):
        tree.append(leaf)
        events.read(tree.size, leaf)
        report.leaves += 1
        if progress and not report.leaves % 10_000:
            progress(report.leaves)
        if len(report.problems) >= MAX_PROBLEMS:
            report.notes.append(f"{tree.size} events were read until there were {MAX_PROBLEMS} problems; no more were")
            raise Stop
        _against(old, tree, report)
        checkpoint = checkpoints.pop(tree.size, None)
        if checkpoint is None:
            continue
        same = checkpoint.root == tree.root()
        trust.check(checkpoint, same)
        if quorum and tree.size == report.last:
            _witnessed(checkpoint, report, witnesses, quorum)
        if same:
            if changed:
                what = f"events 1 to {tree.size} are as they were signed: what differs is an earlier checkpoint alone"
                report.notes.append(what)
            good, changed = tree.size, False
        elif not changed:  # once a leaf differs, so do all later roots
            changed = True
            report.add(
                "ROOT_MISMATCH",
                good + 1,
                f"something differs in events {good + 1} to {tree.size}: their root is not the signed one",
            )
    events.finish()
    _ends(report, tree, events.highest, checkpoints, good, changed)
    if old is not None:
        right, wrong = old.signed_by(trust.ever)
        if wrong or not right:
            report.add("BAD_SIGNATURE", 0, "the earlier checkpoint is not signed by a key that is trusted", SIGNATURE)


def _against(old: Checkpoint | None, tree: Tree, report: Report) -> None:
    """Holds the tree against the earlier checkpoint, where it has just that size."""
    if old is not None and old.size == tree.size and old.root != tree.root():
        report.add("FORKED", 0, f"the first {old.size} events are not those that were signed before", FORKED)


def _manifest(folder: Path, report: Report) -> list[bytes]:
    try:
        told = json.loads((folder / "manifest.json").read_bytes())
        if told["format"] != 1:
            raise ValueError(f"format {told['format']!r} is not known here")
        if not isinstance(told["origin"], str) or type(told["first"]) is not int or type(told["last"]) is not int:
            raise ValueError("origin, first or last is not what it should be")
        frontier = [bytes.fromhex(one) for one in told["frontier"]]
        report.origin, report.first, report.last = told["origin"], told["first"], told["last"]
        if not 0 < report.first <= report.last or len(frontier) != bin(report.first - 1).count("1"):
            raise ValueError("first, last and frontier do not fit together")
        if any(len(one) != 32 for one in frontier):
            raise ValueError("frontier is not of hashes")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as e:
        report.add("UNREADABLE", 0, f"manifest.json: {type(e).__name__}: {e}", UNREADABLE)
        raise Stop from e
    for name in ("leaves", "checkpoints"):
        if not (folder / name).is_dir():
            report.add("UNREADABLE", 0, f"there is no directory {name}", UNREADABLE)
            raise Stop
    return frontier


def _checkpoints(folder: Path, report: Report) -> dict[int, Checkpoint]:
    found: dict[int, Checkpoint] = {}
    for path in sorted((folder / "checkpoints").glob("*.note")):
        try:
            checkpoint = Checkpoint.parse(path.read_bytes())
        except OSError as e:
            report.add("UNREADABLE", 0, f"{path.name}: {e}", UNREADABLE)
            continue
        except ValueError as e:
            report.add("CHECKPOINT_CHANGED", 0, f"{path.name} is not a checkpoint: {e}")
            continue
        report.checkpoints += 1
        if checkpoint.origin != report.origin:
            report.add("WRONG_LOG", 0, f"{path.name} is of the log '{checkpoint.origin}'", SIGNATURE)
        elif path.name != f"{checkpoint.size:020}.note":
            report.add("CHECKPOINT_CHANGED", 0, f"{path.name} is of size {checkpoint.size}")
        elif report.first <= checkpoint.size <= report.last:
            found[checkpoint.size] = checkpoint
        elif checkpoint.size < report.first:
            report.add("CHECKPOINT_CHANGED", 0, f"{path.name} is from before the first event here")
        else:
            report.add(
                "LEAF_TRUNCATED", 0, f"a checkpoint of size {checkpoint.size}, and the events end at {report.last}"
            )
    return found


def _earlier(since: bytes | None, report: Report) -> Checkpoint | None:
    """The checkpoint that was kept elsewhere; its signature waits for the keys that the log names."""
    if since is None:
        return None
    try:
        old = Checkpoint.parse(since)
    except ValueError as e:
        report.add("UNREADABLE", 0, f"the earlier checkpoint: {e}", UNREADABLE)
        raise Stop from e
    if old.origin != report.origin:
        report.add("WRONG_LOG", 0, f"the earlier checkpoint is of the log '{old.origin}'", SIGNATURE)
    elif old.size > report.last:
        report.add("ROLLED_BACK", 0, f"{old.size} events were signed before, and there are {report.last}", FORKED)
    elif old.size < report.first - 1:
        # Not a note: else whoever forged a log would just export less of it.
        what = f"the earlier checkpoint is of {old.size} events: export from event {old.size + 1} or before"
        report.add("UNANCHORED", 0, what, FORKED)
    return old


def _leaves(folder: Path, report: Report) -> Iterator[bytes]:
    paths = sorted((folder / "leaves").glob("*.leaves"))
    for position, path in enumerate(paths):
        if path.name != f"{position:08}.leaves":
            what = f"leaves/{position:08}.leaves is missing"
            report.add("LEAF_MISSING", report.first + position * LEAVES_PER_FILE, what)
            raise Stop
        held = 0
        try:
            with open(path, "rb") as file:
                while head := file.read(4):
                    length = int.from_bytes(head, "big")
                    leaf = file.read(length) if len(head) == 4 and length <= MAX_LEAF_BYTES else b""
                    if len(head) < 4 or len(leaf) < length:
                        what = f"leaves/{path.name} ends inside a leaf"
                        report.add("LEAF_TRUNCATED", report.first + report.leaves, what)
                        return
                    held += 1
                    yield leaf
        except OSError as e:
            report.add("UNREADABLE", report.first + report.leaves, f"leaves/{path.name}: {e}", UNREADABLE)
            raise Stop from e
        if held > LEAVES_PER_FILE or (held < LEAVES_PER_FILE and position + 1 < len(paths)):
            what = f"leaves/{path.name} has {held} leaves, not {LEAVES_PER_FILE}"
            report.add("LEAF_MISSING", report.first + report.leaves, what)


def _witnessed(checkpoint: Checkpoint, report: Report, witnesses: Sequence[Key], quorum: int) -> None:
    seen, false = checkpoint.signed_by(witnesses)
    if false or seen < quorum:
        report.add("UNWITNESSED", 0, f"{seen} of {quorum} witnesses signed the last checkpoint", SIGNATURE)


def _ends(report: Report, tree: Tree, highest: int, left: dict[int, Checkpoint], good: int, changed: bool) -> None:
    if highest < report.last:
        report.add("LEAF_TRUNCATED", highest + 1, f"the events end at {highest}, and {report.last} were signed")
    elif tree.size > report.last:
        report.add("LEAF_ADDED", report.last + 1, f"there are {tree.size} events, and {report.last} were exported")
    for size in sorted(left):
        if size <= tree.size:
            report.add("CHECKPOINT_CHANGED", 0, f"the checkpoint of size {size} could not be compared")
    if not changed and good < min(tree.size, report.last):
        report.add("UNSIGNED", good + 1, f"no checkpoint vouches for events {good + 1} to {tree.size}")


def verify_proof(proof: bytes, keys: Sequence[Key], witnesses: Sequence[Key] = (), quorum: int = 0) -> Report:
    """What verifying the proof of one event comes to. https://c2sp.org/tlog-proof, the leaf in its `extra` line."""
    report = Report()
    try:
        head, _, note = proof.partition(b"\n\n")
        magic, extra, index, *hashes = head.decode().split("\n")
        if magic != "c2sp.org/tlog-proof@v1" or not extra.startswith("extra ") or not index.startswith("index "):
            raise ValueError("not a proof of an event")
        leaf, position = _base64(extra[6:]), int(index[6:])
        siblings = [_base64(line) for line in hashes]
        if str(position) != index[6:] or any(len(one) != 32 for one in siblings):
            raise ValueError("not an index, or not hashes")
        checkpoint = Checkpoint.parse(note)
        found, last, at = hashlib.sha256(b"\0" + leaf).digest(), checkpoint.size - 1, position
        for sibling in siblings:  # RFC 9162, 2.1.3.2
            if at & 1 or at == last:
                found = hashlib.sha256(b"\1" + sibling + found).digest()
                while not at & 1 and at:
                    at, last = at >> 1, last >> 1
            else:
                found = hashlib.sha256(b"\1" + found + sibling).digest()
            at, last = at >> 1, last >> 1
        report.origin, report.first, report.last = checkpoint.origin, position + 1, position + 1
        report.leaves = report.checkpoints = 1
        if not 0 <= position < checkpoint.size or last or found != checkpoint.root:
            report.add("ROOT_MISMATCH", position + 1, "the event is not in the tree that was signed")
        elif number(parsed(leaf), 1) != position + 1:
            report.add("LEAF_CHANGED", position + 1, "the event has another number than its place")
        right, wrong = checkpoint.signed_by([key for key in keys if key[0] == checkpoint.origin])
        if wrong or not right:
            report.add("BAD_SIGNATURE", 0, "the checkpoint is not signed by a key that is trusted", SIGNATURE)
        if quorum:
            _witnessed(checkpoint, report, witnesses, quorum)
    except (ValueError, Unparsable) as e:
        report.add("UNREADABLE", 0, f"not a proof: {e}", UNREADABLE)
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; its exit code."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("path", metavar="DIR", type=Path, help="an export, or the file of a proof")
    arguments.add_argument("--key", metavar="FILE", type=Path, action="append", required=True, help="verifier keys")
    arguments.add_argument("--since", metavar="NOTE", type=Path, help="an earlier checkpoint of this log")
    arguments.add_argument("--witness", metavar="FILE", type=Path, action="append", default=[], help="witnesses' keys")
    arguments.add_argument("--quorum", metavar="N", type=int, default=0, help="witnesses that must have signed")
    arguments.add_argument("--json", action="store_true", help="print one JSON object")
    args = arguments.parse_args(argv)
    try:
        keys = [key for path in args.key for key in keys_in(path)]
        witnesses = [key for path in args.witness for key in keys_in(path)]
        since = args.since.read_bytes() if args.since else None
    except (OSError, ValueError) as e:
        print(f"cannot read a key or the earlier checkpoint: {e}", file=sys.stderr)
        return USAGE
    if not (1 <= args.quorum <= len(witnesses) if witnesses or args.quorum else True):
        print(f"--quorum: want 1 to {len(witnesses)}, the witnesses there are", file=sys.stderr)
        return USAGE
    if since and args.path.is_file():
        print("--since: a proof says nothing of an earlier checkpoint; give an export", file=sys.stderr)
        return USAGE
    progress = _progress if sys.stderr.isatty() else None
    if args.path.is_file():
        report = verify_proof(args.path.read_bytes(), keys, witnesses, args.quorum)
    else:
        report = verify(args.path, keys, since=since, witnesses=witnesses, quorum=args.quorum, progress=progress)
    show(report, as_json=args.json)
    return report.code


def _progress(leaves: int) -> None:
    print(f"\r{leaves} events", end="", file=sys.stderr, flush=True)


def _shown(words: str) -> str:
    """Without what would move a terminal's cursor: words of a log may be its forger's."""
    return "".join(c if c.isprintable() else "\ufffd" for c in words)


def show(report: Report, *, as_json: bool) -> None:
    """Prints what verifying came to."""
    if as_json:
        told = {
            "sound": not report.problems,
            "origin": report.origin,
            "first": report.first,
            "last": report.last,
            "events": report.leaves,
            "checkpoints": report.checkpoints,
            "first_bad": report.first_bad,
            "problems": [{"kind": p.kind, "sequence": p.sequence, "what": p.what} for p in report.problems],
            "notes": report.notes,
        }
        print(json.dumps(told))
        return
    for problem in report.problems[:SHOWN]:
        where = f", event {problem.sequence}" if problem.sequence else ""
        print(_shown(f"{problem.kind}{where}: {problem.what}"))
    if len(report.problems) > SHOWN:
        print(f"… and {len(report.problems) - SHOWN} more")
    for note in report.notes[:SHOWN]:
        print(_shown(f"note: {note}"))
    if len(report.notes) > SHOWN:
        print(f"… and {len(report.notes) - SHOWN} notes more")
    verdict = "sound" if not report.problems else "NOT SOUND"
    where = f"; nothing is proven from event {report.first_bad} on" if report.first_bad else ""
    what = f"events {report.first} to {report.last}, {report.checkpoints} checkpoints{where}"
    print(_shown(f"{verdict}: {report.origin}, {what}"))


if __name__ == "__main__":
    sys.exit(main())
