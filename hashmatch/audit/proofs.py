"""Proofs that fit into a case file: one event, the way to a signed root, and the checkpoint. c2sp.org/tlog-proof.

The event's bytes travel in the proof's `extra` line, which its format leaves to the application: they are not taken on
trust, since the proof is of their hash.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from hashmatch.audit.ledger import Ledger
from hashmatch.audit.reading import Log
from hashmatch.errors import Malformed, Refused


@dataclass(frozen=True, slots=True)
class Proof:
    """That an event is in the tree that a checkpoint was signed of."""

    sequence: int
    size: int  # of that tree
    leaf: bytes
    hashes: list[bytes]
    checkpoint: bytes

    def text(self) -> bytes:
        """As a file `.tlog-proof`."""
        lines = [f"extra {_base64(self.leaf)}", f"index {self.sequence - 1}", *map(_base64, self.hashes)]
        return "\n".join(["c2sp.org/tlog-proof@v1", *lines, "", ""]).encode() + self.checkpoint


def prove(ledger: Ledger, sequence: int, size: int = 0) -> Proof:
    """The proof of one event in the tree of `size`; 0: of the newest checkpoint, or of one made now to cover it.

    Raises:
        Malformed: there is no such event, or it is not in a tree of that size, or that size was never signed.
        Refused: no checkpoint covers it, and this ledger is open for reading only.
    """
    with ledger.reading() as log:
        if not 0 < sequence <= log.size:
            raise Malformed(f"want 1..{log.size}, the events there are", field="sequence")
        size = size or log.signed_size
        covered = sequence <= size
    if not covered:
        if ledger.readonly:
            raise Refused("no checkpoint covers that event yet, and this state cannot be written to sign one")
        size = ledger.sign()
    with ledger.reading() as log:
        return _proof(log, sequence, size)


def _proof(log: Log, sequence: int, size: int) -> Proof:
    checkpoint = log.checkpoint(size)
    if not checkpoint:
        raise Malformed(f"no checkpoint of size {size} was signed", field="size")
    ((_, leaf),) = log.leaves(sequence - 1, 1)
    return Proof(sequence, size, leaf, log.inclusion(sequence, size), checkpoint)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
