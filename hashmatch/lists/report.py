"""What an import tells the people who are to decide on it, beyond its counts.

Near-duplicates are sought among a sample, since comparing all pairs of a large list takes hours; the report says how
large the sample was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from hashmatch.index import hamming
from hashmatch.index.recipe import Recipe
from hashmatch.lists.contents import Contents, aligned
from hashmatch.lists.ingest import Ingested
from hashmatch.lists.reader import ListReader
from hashmatch.store.lists import ListStore
from hashmatch.types import Fingerprint
from hashmatch.v1 import lists_pb2
from hashmatch.v1.store_pb2 import ListRecord

MAX_REJECTED_PERMILLE = 10  # of a file's rows, unless its header says otherwise
ONE_REJECT = 1  # is no sign of a wrong column or format, however short the file is
MAX_SAMPLE = 500  # entries of a file whose near-duplicates are counted
MAX_COMPARED = 500_000_000  # pairs: half a second to two, by machine
MAX_CONFLICTS_TOLD = 100
SOUGHT_SHARE = 4  # another list of more than so many times the file's entries is looked up, not read


def told(found: Ingested, header: lists_pb2.ImportHeader) -> lists_pb2.ImportListResponse:
    """The counts of a file, and why its version may not be activated as it stands."""
    answer = lists_pb2.ImportListResponse(
        lines=found.lines,
        accepted=found.accepted,
        duplicates=found.duplicates,
        rejected=found.rejected,
        rejects=[lists_pb2.Reject(line=line, why=why) for line, why in found.rejects],
        poison=found.poison,
        held_back=found.held_back,
        skipped=found.skipped,
        format=found.format,
    )
    given = header.HasField("max_rejected_permille")
    most = header.max_rejected_permille if given else MAX_REJECTED_PERMILLE
    rows = found.accepted + found.duplicates + found.held_back + found.rejected
    if found.rejected > ONE_REJECT and found.rejected * 1000 > most * rows:
        answer.refusal = (
            f"{found.rejected} of {rows} rows were rejected, more than {most / 10:g} %: look at the rejects, and allow "
            "them if this is right"
        )
    return answer


def look_further(
    store: ListStore,
    record: ListRecord,
    found: Ingested,
    answer: lists_pb2.ImportListResponse,
    recipes: Mapping[str, Recipe],
    lists: ListReader,
) -> None:
    """Completes `answer` with near-duplicates within the file, and with what contradicts other lists.

    Raises:
        Corrupt: another list is damaged.
    """
    for hash_type, number in sorted(found.counts.items()):
        recipe = recipes.get(hash_type)
        if recipe is not None and recipe.distance == "hamming" and number > 1:
            threshold = record.policy.thresholds.get(hash_type, recipe.default_threshold)
            near, sampled = _near_duplicates(found, hash_type, number, recipe, threshold)
            answer.near_duplicates += near
            answer.near_duplicates_sampled += sampled
    for other, contents in lists.active():
        if other.policy.benign != record.policy.benign:
            for hash_type in sorted(found.counts.keys() & set(contents.hash_types())):
                for key in _shared(store, contents, found, hash_type):
                    answer.benign_conflicts += 1
                    if len(answer.benign_conflict_ids) < MAX_CONFLICTS_TOLD:
                        answer.benign_conflict_ids.append(lists.entry_ids(record.name, Fingerprint(hash_type, key)))


def _near_duplicates(found: Ingested, hash_type: str, number: int, recipe: Recipe, threshold: int) -> tuple[int, int]:
    """How many of a sample have another entry within the threshold, and the sample's size."""
    size = min(number, MAX_SAMPLE, max(1, MAX_COMPARED // number))
    step = number // size
    width = recipe.value_bytes
    sample, passed = [], 0
    for keys in found.keys(hash_type):
        rows = hamming.pack(keys, width)
        sample.append(rows[-passed % step :: step].tobytes())
        passed += len(rows)
    queries = hamming.pack(b"".join(sample)[: size * width], width)
    neighbours = np.zeros(len(queries), np.int64)
    for keys in found.keys(hash_type):
        query, _, _ = hamming.within(queries, hamming.pack(keys, width), threshold)
        neighbours += np.bincount(query, minlength=len(queries))
    return int((neighbours > 1).sum()), len(queries)  # each has itself


def _shared(store: ListStore, other: Contents, found: Ingested, hash_type: str) -> Iterator[bytes]:
    """The keys that a file and another list have in common."""
    if other.version.entries[hash_type] > SOUGHT_SHARE * found.counts[hash_type]:
        with store.view() as view:
            for key, _ in found.rows(hash_type):
                if other.entry(view, hash_type, key) is not None:
                    yield key
        return
    for key, listed, given in aligned(other.all_rows(store, hash_type), found.rows(hash_type)):
        if listed is not None and given is not None:
            yield key
