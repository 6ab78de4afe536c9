"""The log as it is in one moment: leaves, roots, proofs, checkpoints. What a proof needs, and nothing else."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from hashmatch.audit import tree
from hashmatch.audit.leaves import Leaves
from hashmatch.audit.sealing import Sealing
from hashmatch.audit.signing import Checkpoints
from hashmatch.errors import Malformed
from hashmatch.store.env import Txn
from hashmatch.v1.audit_pb2 import Event


@dataclass(frozen=True, slots=True)
class Log:
    """A moment of one log; valid while its transaction is open."""

    txn: Txn
    _leaves: Leaves
    _sealing: Sealing
    _checkpoints: Checkpoints

    @property
    def origin(self) -> str:
        """The log's name."""
        return self._checkpoints.origin(self.txn)

    @property
    def verifier_key(self) -> str:
        """The public half of the key that signs now."""
        return self._checkpoints.verifier_key(self.txn)

    @property
    def signed_size(self) -> int:
        """The size of the newest checkpoint; 0 where there is none."""
        return self._checkpoints.size(self.txn)

    @property
    def size(self) -> int:
        """Leaves in the tree, which is the last event's sequence."""
        return self._leaves.last(self.txn)[0]

    def leaves(self, after: int, limit: int) -> Iterator[tuple[Event, bytes]]:
        """At most `limit` events in order as they are in the tree, each with its leaf, after sequence `after`.

        Raises:
            Corrupt: one of them is damaged or missing.
        """
        return self._leaves.events(self.txn, after, limit)

    def open(self, event: Event) -> bool:
        """Puts what is sealed of a verdict back; False where its key was destroyed."""
        return self._sealing.open(self.txn, event)

    def root(self, size: int) -> bytes:
        """The root of the tree as it was with so many leaves.

        Raises:
            Malformed: it never had as many.
        """
        self._within(size, "size")
        return self._leaves.root(self.txn, size)

    def frontier(self, size: int) -> list[bytes]:
        """The roots of the complete subtrees of the first `size` leaves, left to right."""
        self._within(size, "size")
        return tree.frontier(size, self._leaves.nodes(self.txn))

    def inclusion(self, sequence: int, size: int) -> list[bytes]:
        """The proof that an event is in the tree of that size: sibling hashes from the leaf up. RFC 9162, 2.1.3.

        Raises:
            Malformed: the tree of that size does not have it, or never had that size.
        """
        self._within(size, "size")
        if not 0 < sequence <= size:
            raise Malformed(f"want 1..{size}, the events in a tree of that size", field="sequence")
        return tree.inclusion(sequence - 1, size, self._leaves.nodes(self.txn))

    def consistency(self, old: int, new: int) -> list[bytes]:
        """The proof that the tree of `old` leaves is the beginning of that of `new`. RFC 9162, 2.1.4.

        Raises:
            Malformed: there is no such pair of sizes.
        """
        self._within(new, "new_size")
        if not 0 < old <= new:
            raise Malformed(f"want 1..{new}", field="old_size")
        return tree.consistency(old, new, self._leaves.nodes(self.txn))

    def first_since(self, microseconds: int) -> int:
        """The sequence of the first event at or after that time, in microseconds since 1970; one past the last event
        where there is none. Halves each stretch in which time ascends: where the clock was set back another begins.
        """
        begins = [1, *self._leaves.set_back(self.txn), self.size + 1]
        for begin, end in pairwise(begins):
            found = bisect_left(range(begin, end), microseconds, key=self._microseconds) + begin
            if found < end:
                return found
        return self.size + 1

    def _microseconds(self, sequence: int) -> int:
        at = self._leaves.event(self.txn, sequence).at
        return at.seconds * 1_000_000 + at.nanos // 1000

    def checkpoint(self, size: int = 0) -> bytes:
        """The newest signed note, or the one of that size; empty where there is none."""
        return self._checkpoints.note(self.txn, size)

    def checkpoint_sizes(self, after: int, until: int) -> Iterator[int]:
        """The sizes that were signed, ascending, after one and up to another."""
        return self._checkpoints.sizes(self.txn, after, until)

    def _within(self, size: int, field: str) -> None:
        if not 0 <= size <= self.size:
            raise Malformed(f"the log has {self.size} events", field=field)
