"""What a verdict's record says of the lists, held against their change feed; and what was suppressed for it.

A generation is of one moment, but for lists that wait for a snapshot: those are served as they were, under the revision
that all lists were at, while the others and all suppressions are newer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from hashmatch.audit import differences
from hashmatch.index.recipe import Recipe
from hashmatch.lists.past import Lists, Was
from hashmatch.types import Suppression
from hashmatch.v1.audit_pb2 import VerdictRecord
from hashmatch.v1.common_pb2 import Coverage, ListRevision

FEED = "by the change feed"


def contradictions(lists: Lists, record: VerdictRecord) -> Iterator[str]:
    """Where the record says something else of the lists than the change feed."""
    for listed in record.coverage.lists:
        seen = _seen(listed, record.coverage)
        was = lists.at(listed.list, seen)
        if was is None or not was.version:
            yield f"list {listed.list}: logged as searched, {FEED} nothing of it was active at revision {seen}"
        else:
            yield from _of_list(listed, was, record)
    if record.HasField("retro"):  # of one list, which the caller did not name
        return
    searched = {listed.list for listed in record.coverage.lists}
    active = lists.active(record.coverage.revision)
    for name in sorted((set(record.asked_lists) or active.keys()) - searched):
        yield f"list {name}: to be searched at revision {record.coverage.revision}, and not logged as searched"
    for name in sorted(searched - set(record.asked_lists) if record.asked_lists else ()):
        yield f"list {name}: logged as searched, and not asked for"


def _of_list(listed: ListRevision, was: Was, record: VerdictRecord) -> Iterator[str]:
    what = f"list {listed.list}: "
    for name, logged, known in (
        ("revision", listed.revision, was.revision), ("version", listed.version, was.version)
    ):  # fmt: skip
        if logged != known:
            yield f"{what}{name}: logged {logged}, {FEED} {known}"
    logged_policy = record.policies[listed.list]
    yield from differences.changed(f"{what}policy: ", logged_policy, was.policy, FEED)
    for hash_type, bits in sorted(logged_policy.thresholds.items()):
        if listed.thresholds.get(hash_type, bits) != bits:
            yield f"{what}threshold of {hash_type}: logged {listed.thresholds[hash_type]}, by its policy {bits}"


def other_defaults(record: VerdictRecord, recipes: Mapping[str, Recipe]) -> Iterator[str]:
    """Thresholds that are neither of a list's policy nor of a recipe as it is now: no record of recipes is kept."""
    for listed in record.coverage.lists:
        for hash_type, bits in sorted(listed.thresholds.items()):
            recipe = recipes.get(hash_type)
            known = recipe is None or recipe.default_threshold == bits
            if not known and hash_type not in record.policies[listed.list].thresholds:
                yield (
                    f"list {listed.list}: threshold of {hash_type}: {bits} then, from a recipe that says "
                    f"{recipe.default_threshold if recipe else 0} now"
                )


def mixed(coverage: Coverage) -> Iterator[str]:
    """Whether lists were seen at different moments."""
    if any(listed.revision > coverage.revision for listed in coverage.lists):
        yield f"lists are newer than revision {coverage.revision}, which all were at: another was waiting"


# ── suppressions ────────────────────────────────────────────────────────────────────────────────────────────────────


def suppressed(lists: Lists, coverage: Coverage, later: int = 0) -> dict[tuple[str, str], Suppression]:
    """What was suppressed, by list and entry id; of lists that waited, what was at a `later` revision."""
    found = {}
    for listed in coverage.lists:
        seen = _seen(listed, coverage)
        was = lists.at(listed.list, max(seen, later) if later and _waited(lists, listed, later) else seen)
        for entry_id, one in was.suppressions.items() if was else ():
            found[listed.list, entry_id] = one
    return found


def later(lists: Lists, coverage: Coverage, until: datetime) -> list[int]:
    """Revisions at which suppressions changed of lists that were waiting, up to a time: any of them may have been in
    force."""
    found = set()
    for listed in coverage.lists:
        seen = _seen(listed, coverage)
        before = lists.at(listed.list, seen)
        for was in lists.after(listed.list, seen):
            changed = before is None or was.suppressions != before.suppressions
            if changed and was.at <= until and _waited(lists, listed, was.revision):
                found.add(int(was.revision))
            before = was
    return sorted(found)


def _seen(listed: ListRevision, coverage: Coverage) -> int:
    """The revision that a list was seen at: not before that of all lists."""
    return max(listed.revision, coverage.revision)


def _waited(lists: Lists, listed: ListRevision, revision: int) -> bool:
    was = lists.at(listed.list, revision)
    return was is not None and was.version != listed.version


# ── since then ──────────────────────────────────────────────────────────────────────────────────────────────────────


def since(record: VerdictRecord, now: Coverage, policies: Mapping[str, object]) -> Iterator[str]:
    """What has changed in the lists that are searched `now`, under `policies` as the wire has them."""
    before = {listed.list: listed for listed in record.coverage.lists}
    after = {listed.list: listed for listed in now.lists}
    for name in sorted(before.keys() - after.keys()):
        yield f"list {name}: searched then, not active now"
    for name in sorted(after.keys() - before.keys()):
        yield f"list {name}: not searched then, version {after[name].version} now"
    for name in sorted(before.keys() & after.keys()):
        was, listed = before[name], after[name]
        for what, then, at_present in (
            ("version", was.version, listed.version),
            ("entries", was.entries, listed.entries),
            *(
                (f"threshold of {t}", was.thresholds.get(t, "none"), listed.thresholds.get(t, "none"))
                for t in sorted({*was.thresholds, *listed.thresholds})
            ),
        ):
            if then != at_present:
                yield f"list {name}: {what}: {then} then, {at_present} now"
        if name in record.policies and record.policies[name] != policies[name]:
            yield f"list {name}: another policy now"
