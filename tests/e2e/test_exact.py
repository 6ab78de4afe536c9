"""The server against a brute-force loop: every query, every threshold 0..48, over random and clustered lists."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashmatch.client import Finding, Fingerprint
from hashmatch.index.recipe import load_recipes
from hashmatch.lists.keeper import ListKeeper
from hashmatch.store.lists import ListStore
from hashmatch.v1 import lists_pb2

CEILING = 48
CENTRES = 12  # of the clustered half
ROWS = 1500  # per data set


def balanced(rng, count):
    """Random PDQ-like values: exactly half of the bits set."""
    bits = np.repeat(np.array([[0, 1]], np.uint8), 128, axis=0).reshape(1, 256).repeat(count, axis=0)
    return np.packbits(rng.permuted(bits, axis=1), axis=1)


def moved(rng, row, distance):
    """`row` with exactly `distance` bits changed, as many set as cleared, so that it stays balanced."""
    bits = np.unpackbits(row)
    ones, zeros = np.flatnonzero(bits), np.flatnonzero(bits == 0)
    bits[rng.choice(ones, distance - distance // 2, replace=False)] = 0
    bits[rng.choice(zeros, distance // 2, replace=False)] = 1
    return np.packbits(bits)


def clustered(rng, count):
    """Near-duplicates around a few centres, every distance 0..60 among them."""
    centres = balanced(rng, CENTRES)
    return np.stack([moved(rng, centres[i % CENTRES], i % 61) for i in range(count)]), centres


@pytest.fixture(scope="module")
def searched(shared):
    """One list per threshold, all with the same entries, so that one question asks at every threshold at once."""
    rng = np.random.default_rng(7)
    near, centres = clustered(rng, ROWS)
    rows = np.unique(np.concatenate([balanced(rng, ROWS), near]), axis=0)
    file = "".join(f"{row.tobytes().hex()}\n" for row in rows).encode()
    shared.serve("--workers", "1")
    store = ListStore(shared.state)
    keeper = ListKeeper(store, load_recipes())
    for threshold in range(CEILING + 1):
        name = f"t{threshold}"
        policy = lists_pb2.Policy(thresholds={"pdq": threshold})
        keeper.create(name, policy=policy, by="tests")
        header = lists_pb2.ImportHeader(name=name, format=lists_pb2.IMPORT_FORMAT_HEX, activate=True)
        revision = keeper.stage(header, io.BytesIO(file), by="tests").revision
    store.close()
    with shared.client(timeout=30) as client:
        client.match(fingerprints=[Fingerprint("pdq", rows[0].tobytes())], min_revision=revision)
        yield client, rows, centres


def test_server_and_loop_agree_at_every_threshold(searched):
    client, rows, centres = searched
    kinds = st.sampled_from(["listed", "centre", "random"])

    @settings(max_examples=60, deadline=None)
    @given(kinds, st.integers(0, 2**32 - 1), st.integers(0, 60))
    def check(kind, seed, distance):
        rng = np.random.default_rng(seed)
        pool = {"listed": rows, "centre": centres, "random": balanced(rng, 1)}[kind]
        query = moved(rng, pool[rng.integers(len(pool))], distance)
        distances = [
            sum((a ^ b).bit_count() for a, b in zip(query.tolist(), row, strict=True)) for row in rows.tolist()
        ]
        answer = client.match(fingerprints=[Fingerprint("pdq", query.tobytes())])
        found = {f"t{t}": [] for t in range(CEILING + 1)}
        for match in answer.matches:
            found[match.list].append(match.distance)
        for threshold in range(CEILING + 1):
            assert sorted(found[f"t{threshold}"]) == sorted(d for d in distances if d <= threshold)
        expected = Finding.FINDING_MATCH if min(distances) <= CEILING else Finding.FINDING_NO_MATCH
        assert answer.finding == expected

    check()


def test_the_loop_would_notice_one_bit(searched):
    """Each distance is found by the list of that threshold and not by the one below: the comparison can fail."""
    client, rows, _ = searched
    rng = np.random.default_rng(3)
    for distance in range(1, CEILING + 1):
        query = moved(rng, rows[rng.integers(len(rows))], distance)
        nearest = min(sum((a ^ b).bit_count() for a, b in zip(query.tolist(), r, strict=True)) for r in rows.tolist())
        fingerprint = Fingerprint("pdq", query.tobytes())
        assert client.match(fingerprints=[fingerprint], lists=[f"t{nearest}"]).finding == Finding.FINDING_MATCH
        if nearest:
            below = client.match(fingerprints=[fingerprint], lists=[f"t{nearest - 1}"])
            assert below.finding == Finding.FINDING_NO_MATCH
