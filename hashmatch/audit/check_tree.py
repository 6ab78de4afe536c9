"""What is wrong with the log's tree: it is computed again from the leaves, and held against what is kept of it."""

from __future__ import annotations

from hashmatch.audit import tables, tree
from hashmatch.audit.leaves import Leaves
from hashmatch.audit.note import Checkpoint, parse_note
from hashmatch.errors import Corrupt
from hashmatch.store import codec
from hashmatch.store.env import Env, Txn


class TreeCheck:
    """Is shown every event in order, then every row of `nodes`, `checkpoints` and `log`.

    A server may go on writing: nodes and checkpoints beyond the events that were shown are left to the next check.
    """

    def __init__(self, env: Env, leaves: Leaves) -> None:
        self._env, self._leaves = env, leaves
        self._size = 0  # leaves shown
        self._whole = True  # none was missed
        self._nodes: dict[tuple[int, int], bytes] = {}  # those that wait for their sibling

    def missed(self) -> None:
        """An event cannot be read, so that the tree cannot be computed."""
        self._whole = False

    def event(self, txn: Txn, sequence: int, leaf: bytes) -> None:
        """Computes on with the next leaf; every subtree that it completes must be among the nodes."""
        if not self._whole:
            return
        self._size = sequence
        completed = list(tree.appended(sequence - 1, tree.leaf_hash(leaf), self._waiting))
        for level, index, root in completed:
            if index % 2:  # the one above them is completed too, and nothing asks for these two again
                del self._nodes[level, index - 1]
            else:
                self._nodes[level, index] = root
        for level, index, root in completed:
            if level and self._leaves.node(txn, level, index) != root:
                self._whole = False
                raise Corrupt(f"the log's tree is not that of its events: node {index} of level {level}")

    def _waiting(self, level: int, index: int) -> bytes:
        return self._nodes[level, index]

    def node(self, txn: Txn, key: bytes, value: bytes) -> None:
        """Checks a row of `nodes`: what it holds was compared with its events."""
        codec.unseal(key, value, "nodes")
        level, index = tables.split_node(key)
        if not level or (index + 1) << level > self._leaves.last(txn)[0]:
            raise Corrupt("the log's tree has a node over events that are not there")

    def checkpoint(self, txn: Txn, key: bytes, value: bytes) -> None:
        """Checks a row of `checkpoints` against the tree."""
        size = tables.sequence_of(key)
        signed = Checkpoint.parse(parse_note(codec.unseal(key, value, "checkpoints")).text)
        if signed.size != size:
            raise Corrupt(f"the checkpoint of size {size} is one of size {signed.size}")
        if signed.root != self._leaves.root(txn, size):
            raise Corrupt(f"the checkpoint of size {size} was signed of another tree")

    def log(self, txn: Txn, key: bytes, value: bytes) -> None:
        """Checks a row of `log`."""
        codec.unseal(key, value, "log")
        if key == tables.LAST:
            self._leaves.last(txn)
