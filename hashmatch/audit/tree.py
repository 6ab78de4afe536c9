"""Merkle trees as RFC 6962 section 2.1 defines them; proofs and their verification as RFC 9162 section 2.1 states them.

Pure. A tree is known by its complete subtrees: node (level, index) is the root over the 2^level leaves that begin at
leaf index · 2^level. They never change as the tree grows, so whoever keeps them can prove anything
about any size the tree ever had.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

EMPTY_ROOT = hashlib.sha256().digest()
Nodes = Callable[[int, int], bytes]
"""Level and index → the root of that complete subtree; level 0 are the hashes of leaves."""


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf, 32 bytes."""
    return hashlib.sha256(b"\x00" + leaf).digest()  # RFC 6962 §2.1: prefixes keep leaves and nodes apart


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node over two others, 32 bytes."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def appended(size: int, leaf: bytes, nodes: Nodes) -> Iterator[tuple[int, int, bytes]]:
    """The complete subtrees that one more leaf, given as its hash, makes of a tree of `size`: level, index, root.

    The leaf itself comes first; two on average. `nodes` is asked for left siblings.
    """
    level, index, found = 0, size, leaf
    yield level, index, found
    while index & 1:
        found = node_hash(nodes(level, index - 1), found)
        level, index = level + 1, index >> 1
        yield level, index, found


def frontier(size: int, nodes: Nodes) -> list[bytes]:
    """The roots of the largest complete subtrees that the first `size` leaves fall into, left to right."""
    return _range(0, size, nodes)


def root_of_frontier(subtrees: Sequence[bytes]) -> bytes:
    """The root of the tree that falls into these subtrees, given left to right."""
    if not subtrees:
        return EMPTY_ROOT
    found = subtrees[-1]
    for left in reversed(subtrees[:-1]):
        found = node_hash(left, found)
    return found


def root(size: int, nodes: Nodes) -> bytes:
    """The root of the tree of the first `size` leaves."""
    return root_of_frontier(frontier(size, nodes))


class Frontier:
    """A tree that is only appended to, and needs no more memory than its frontier: some dozens of hashes."""

    def __init__(self, subtrees: Sequence[bytes] = (), size: int = 0) -> None:
        """Goes on from the frontier of a tree of `size`."""
        if len(subtrees) != size.bit_count():
            raise ValueError(f"the frontier of {size} leaves has {size.bit_count()} subtrees, not {len(subtrees)}")
        self.size, self._subtrees = size, list(subtrees)

    def append(self, leaf: bytes) -> None:
        """Adds a leaf, given as its hash."""
        size, found = self.size, leaf
        while size & 1:
            found = node_hash(self._subtrees.pop(), found)
            size >>= 1
        self._subtrees.append(found)
        self.size += 1

    def root(self) -> bytes:
        """The root as it is now."""
        return root_of_frontier(self._subtrees)


# ── proofs ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def inclusion(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """The proof that leaf `index` is in the tree of the first `size`, from its sibling up. RFC 6962 §2.1.1.

    Raises:
        ValueError: it is not.
    """
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    begin, end, proof = 0, size, []
    while end - begin > 1:
        middle = begin + _left(end - begin)
        if index < middle:
            proof.append(_root(middle, end, nodes))
            end = middle
        else:
            proof.append(_root(begin, middle, nodes))
            begin = middle
    return proof[::-1]


def consistency(old: int, new: int, nodes: Nodes) -> list[bytes]:
    """The proof that the tree of the first `old` leaves is the beginning of that of the first `new`. RFC 6962 §2.1.2.

    Raises:
        ValueError: there is none: `old` is 0 or more than `new`.
    """
    if not 0 < old <= new:
        raise ValueError(f"a tree of {old} is not the beginning of one of {new}")
    begin, end, proof, whole = 0, new, [], True  # whole: the old tree is all of what is left of the subtree
    while old - begin != end - begin:
        middle = begin + _left(end - begin)
        if old <= middle:
            proof.append(_root(middle, end, nodes))
            end = middle
        else:
            proof.append(_root(begin, middle, nodes))
            begin, whole = middle, False
    if not whole:
        proof.append(_root(begin, end, nodes))
    return proof[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether a proof shows that a leaf, given as its hash, is in the tree of that size and root. RFC 9162 §2.1.3.2."""
    if not 0 <= index < size:
        return False
    position, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            found = node_hash(sibling, found)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether a proof shows that one tree is the beginning of another. RFC 9162 §2.1.4.2."""
    if not 0 < old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root


def _left(size: int) -> int:
    """Leaves in the left subtree: the largest power of two smaller than `size`, RFC 6962's k."""
    return 1 << (size - 1).bit_length() - 1


def _root(begin: int, end: int, nodes: Nodes) -> bytes:
    """The root over leaves `begin` to before `end`, which is a subtree of the tree, if an incomplete one."""
    return root_of_frontier(_range(begin, end, nodes))


def _range(begin: int, end: int, nodes: Nodes) -> list[bytes]:
    """The roots of the complete subtrees of a range that begins where a subtree of its size may begin."""
    found = []
    for level in reversed(range((end - begin).bit_length())):
        if end - begin >> level & 1:
            found.append(nodes(level, begin >> level))
            begin += 1 << level
    return found
