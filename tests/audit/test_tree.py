"""Merkle trees against the published vectors, and against the RFC's own recursive definitions."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.audit import tree

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "rfc6962.json").read_text())
MOST = 130


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 2.1: MTH."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = split(len(leaves))
    return hashlib.sha256(b"\1" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(m: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962 2.1.1: PATH."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*naive_path(m, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(m - k, leaves[k:]), naive_root(leaves[:k])]


def naive_proof(m: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """RFC 6962 2.1.2: SUBPROOF."""
    if m == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*naive_proof(m, leaves[:k], whole), naive_root(leaves[k:])]
    return [*naive_proof(m - k, leaves[k:], False), naive_root(leaves[:k])]


def split(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def kept(leaves: list[bytes]) -> dict[tuple[int, int], bytes]:
    """Every complete subtree, as appending one leaf after another gives them."""
    nodes: dict[tuple[int, int], bytes] = {}
    for size, leaf in enumerate(leaves):
        for level, index, root in tree.appended(size, tree.leaf_hash(leaf), lambda *at: nodes[at]):
            assert (level, index) not in nodes
            nodes[level, index] = root
    return nodes


LEAVES = [b"%d" % n for n in range(MOST)]
NODES = kept(LEAVES)


def node(level: int, index: int) -> bytes:
    return NODES[level, index]


def test_published_roots() -> None:
    leaves = [bytes.fromhex(leaf) for leaf in VECTORS["leaves"]]
    nodes = kept(leaves)
    for size, root in enumerate(VECTORS["roots"], 1):
        assert tree.root(size, lambda *at: nodes[at]).hex() == root
    assert tree.root(0, lambda *at: nodes[at]) == tree.EMPTY_ROOT


def test_published_proofs() -> None:
    leaves = [bytes.fromhex(leaf) for leaf in VECTORS["leaves"]]
    nodes = kept(leaves)
    roots = [tree.EMPTY_ROOT, *map(bytes.fromhex, VECTORS["roots"])]
    for one in VECTORS["inclusion"]:
        proof = tree.inclusion(one["index"], one["size"], lambda *at: nodes[at])
        assert [step.hex() for step in proof] == one["proof"]
        leaf = tree.leaf_hash(leaves[one["index"]])
        assert tree.verify_inclusion(leaf, one["index"], one["size"], proof, roots[one["size"]])
    for one in VECTORS["consistency"]:
        proof = tree.consistency(one["old"], one["new"], lambda *at: nodes[at])
        assert [step.hex() for step in proof] == one["proof"]
        assert tree.verify_consistency(one["old"], roots[one["old"]], one["new"], roots[one["new"]], proof)


def test_every_size_against_the_definition() -> None:
    front = tree.Frontier()
    for size in range(MOST + 1):
        root = naive_root(LEAVES[:size])
        assert tree.root(size, node) == front.root() == root
        subtrees = tree.frontier(size, node)
        assert tree.root_of_frontier(subtrees) == tree.Frontier(subtrees, size).root() == root
        if size < MOST:
            front.append(tree.leaf_hash(LEAVES[size]))


@given(st.data())
def test_proofs_against_the_definition(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, MOST))
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    assert tree.inclusion(index, size, node) == naive_path(index, LEAVES[:size])
    assert tree.consistency(old, size, node) == naive_proof(old, LEAVES[:size])


@given(st.data())
def test_only_the_right_inclusion_verifies(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, MOST))
    index = data.draw(st.integers(0, size - 1))
    leaf, proof, root = tree.leaf_hash(LEAVES[index]), tree.inclusion(index, size, node), tree.root(size, node)
    assert tree.verify_inclusion(leaf, index, size, proof, root)
    wrong = data.draw(st.integers(0, size - 1).filter(lambda i: i != index) | st.just(size))
    assert not tree.verify_inclusion(leaf, wrong, size, proof, root)
    assert not tree.verify_inclusion(tree.leaf_hash(b"another"), index, size, proof, root)
    assert not tree.verify_inclusion(leaf, index, size, proof, tree.leaf_hash(b"another"))
    assert not tree.verify_inclusion(leaf, index, size, [*proof, root], root)
    assert not tree.verify_inclusion(leaf, index, size, mangled(data, proof), root)


@given(st.data())
def test_only_the_right_consistency_verifies(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, MOST))
    old = data.draw(st.integers(1, new - 1))
    proof, before, after = tree.consistency(old, new, node), tree.root(old, node), tree.root(new, node)
    assert tree.verify_consistency(old, before, new, after, proof)
    assert not tree.verify_consistency(old, tree.leaf_hash(b"another"), new, after, proof)
    assert not tree.verify_consistency(old, before, new, tree.leaf_hash(b"another"), proof)
    assert not tree.verify_consistency(old, before, new, after, [*proof, after])
    assert not tree.verify_consistency(0, before, new, after, proof)
    assert not tree.verify_consistency(new + 1, before, new, after, proof)
    assert not tree.verify_consistency(old, before, new, after, mangled(data, proof))


def mangled(data: st.DataObject, proof: list[bytes]) -> list[bytes]:
    """A proof that is another: a step changed, left out or, of an empty one, added."""
    if not proof:
        return [tree.EMPTY_ROOT]
    at = data.draw(st.integers(0, len(proof) - 1))
    if data.draw(st.booleans()):
        return proof[:at] + proof[at + 1 :]
    bit = data.draw(st.integers(0, 255))
    changed = (int.from_bytes(proof[at]) ^ 1 << bit).to_bytes(32)
    return [*proof[:at], changed, *proof[at + 1 :]]


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 5), (5, 5)])
def test_no_proof_of_what_is_not_there(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="not in a tree"):
        tree.inclusion(index, size, node)


@pytest.mark.parametrize(("old", "new"), [(0, 1), (2, 1), (0, 0)])
def test_no_consistency_of_what_was_not(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="not the beginning"):
        tree.consistency(old, new, node)


def test_a_frontier_of_another_size() -> None:
    with pytest.raises(ValueError, match="subtrees"):
        tree.Frontier([tree.EMPTY_ROOT], 3)
