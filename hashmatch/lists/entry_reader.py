"""Reading entries of the hash lists: by fingerprint, by distance, page by page, and through time.

Canaries are never among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice

import numpy as np

from hashmatch import convert
from hashmatch.errors import Corrupt, Malformed, NotFound, Refused
from hashmatch.index import hamming
from hashmatch.index.recipe import Recipe, opaque
from hashmatch.lists import messages, versions
from hashmatch.lists.contents import Contents, says
from hashmatch.lists.entry_ids import EntryIds
from hashmatch.store.lists import ListStore, ListView
from hashmatch.types import Fingerprint
from hashmatch.v1 import lists_pb2
from hashmatch.v1.store_pb2 import EntryRecord, ListRecord, VersionRecord

MAX_PAGE = 1_000  # entries
PAGE = 100
MAX_NEAR = 1_000  # entries told of one look-up; a person looks at the nearest few
SCANNED_ROWS = 100_000  # read for one page at most, where filters leave little: a fifth of a second
NEAR_ROWS = 50_000  # compared at once


class EntryReader:
    """Reads the entries of one store. For any thread."""

    def __init__(self, store: ListStore, recipes: Mapping[str, Recipe]) -> None:
        """Takes the store's entry-id key, making it where there are no lists yet.

        Raises:
            Corrupt: the key is not the one that this store's entry ids were made with.
            BadConfig: the key cannot be read or made.
        """
        self._store = store
        self._recipes = recipes
        with store.view() as view:
            made_with = view.id_key_digest()
        self.entry_ids = EntryIds(store.state, create=made_with is None)
        if made_with not in (None, self.entry_ids.key_digest()):
            raise Corrupt(f"{store.state}/keys/entry-id.key is not this state's; restore it from a backup")

    def active(self) -> list[tuple[ListRecord, Contents]]:
        """Every list with something active."""
        with self._store.view() as view:
            found = ((record, versions.active_contents(view, record)) for record in view.lists())
            return [(record, contents) for record, contents in found if contents is not None]

    # ── by fingerprint ──────────────────────────────────────────────────────────────────────────────────────────────

    def look_up(self, fingerprint: Fingerprint, within: int = 0) -> lists_pb2.LookUpEntryResponse:
        """The active entries within a distance of a fingerprint, nearest first, at most MAX_NEAR; 0: exactly under it.

        With a distance every list is read, whatever its threshold: a second or two per million entries.

        Raises:
            Malformed: names the field.
        """
        recipe = self._recipe_of(fingerprint)
        if within and recipe.distance != "hamming":
            raise Malformed(f"{recipe.hash_type} has no distance", field="within")
        key = recipe.key(fingerprint.value)
        with self._store.view() as view:
            answer = lists_pb2.LookUpEntryResponse(revision=view.revision)
        found: list[lists_pb2.ListedEntry] = []
        for record, contents in self.active():
            near = self._near(contents, recipe, key, within) if within else iter([(0, key)])
            found += self._listed(record, contents, recipe.hash_type, near)
        answer.entries.extend(sorted(found, key=lambda one: one.distance)[:MAX_NEAR])
        return answer

    def _listed(
        self, record: ListRecord, contents: Contents, hash_type: str, near: Iterator[tuple[int, bytes]]
    ) -> Iterator[lists_pb2.ListedEntry]:
        for distance, key in near:
            with self._store.view() as view:
                entry = contents.entry(view, hash_type, key)
            if entry is not None:
                told = messages.entry(self.entry_ids, record, contents, hash_type, key, entry.SerializeToString())
                yield lists_pb2.ListedEntry(list=record.name, entry=told, distance=distance)

    def _near(self, contents: Contents, recipe: Recipe, key: bytes, within: int) -> Iterator[tuple[int, bytes]]:
        query = hamming.pack(key, recipe.value_bytes)
        rows = contents.all_rows(self._store, recipe.hash_type)
        found: list[tuple[int, bytes]] = []
        while keys := [one for one, _ in islice(rows, NEAR_ROWS)]:
            _, at, distance = hamming.within(query, hamming.pack(b"".join(keys), recipe.value_bytes), within)
            nearest = np.argsort(distance, kind="stable")[:MAX_NEAR]
            found += [(int(distance[i]), keys[at[i]]) for i in nearest]
        return iter(sorted(found)[:MAX_NEAR])

    def _keyed(self, fingerprint: Fingerprint) -> Fingerprint:
        """A fingerprint by what its entry is kept under."""
        recipe = self._recipe_of(fingerprint)  # and no guard: what must not be listed can always be removed
        return Fingerprint(fingerprint.hash_type, recipe.key(fingerprint.value))

    def _named(self, name: str, entry_id: str, *, ever: bool = False) -> Fingerprint:
        """The key of an active entry by its id; with `ever`, of one that any version listed."""
        wanted = self.entry_ids.parse(entry_id)
        for contents in self._ever(name) if ever else self._now(name):
            for hash_type in contents.hash_types():
                for key, _ in contents.all_rows(self._store, hash_type):
                    fingerprint = Fingerprint(hash_type, key)
                    if self.entry_ids.digest(name, fingerprint) == wanted:
                        return fingerprint
        raise NotFound(f"'{name}' has no such entry")

    def _now(self, name: str) -> list[Contents]:
        with self._store.view() as view:
            contents = versions.active_contents(view, view.list(name))
        return [] if contents is None else [contents]

    def _ever(self, name: str) -> Iterator[Contents]:
        """The active version, then every other, newest first."""
        yield from self._now(name)
        with self._store.view() as view:
            record = view.list(name)
        for number in range(record.last_version, 0, -1):
            if number != record.active_version:
                with self._store.view() as view:
                    contents = Contents(view, record.list_number, number)
                yield contents

    # ── page by page ────────────────────────────────────────────────────────────────────────────────────────────────

    def browse(self, asked: lists_pb2.BrowseEntriesRequest) -> lists_pb2.BrowseEntriesResponse:
        """One page of a version's entries, by hash type and value.

        A page may hold fewer than asked for, or none, and still have a next one, where filters leave little.

        Raises:
            NotFound: no such list or version.
            Malformed: names the field.
            Refused: nothing is active.
        """
        size = min(asked.page_size or PAGE, MAX_PAGE)
        after_type, _, after = asked.page.partition(b"\0")
        with self._store.view() as view:
            record = view.list(asked.name)
            if not (asked.version or record.active_version):
                raise Refused(f"no version of '{asked.name}' is active; name one")
            contents = Contents(view, record.list_number, asked.version or record.active_version)
            answer = lists_pb2.BrowseEntriesResponse()
            left = SCANNED_ROWS
            for hash_type in contents.hash_types():
                if hash_type.encode() < after_type or asked.hash_type not in ("", hash_type):
                    continue
                start = after if hash_type.encode() == after_type else None
                for key, payload in contents.rows(view, hash_type, start):
                    if len(answer.entries) == size or not left:
                        return answer
                    left -= 1
                    answer.next_page = hash_type.encode() + b"\0" + key
                    entry = messages.entry(self.entry_ids, record, contents, hash_type, key, payload)
                    if _passes(entry, asked):
                        answer.entries.append(entry)
        answer.next_page = b""
        return answer

    # ── through time ────────────────────────────────────────────────────────────────────────────────────────────────

    def history(self, name: str, which: Fingerprint | str) -> lists_pb2.GetEntryHistoryResponse:
        """When an entry came, changed and went. By id every version may be read: a second or two per million entries.

        Raises:
            NotFound: no such list, or it never had such an entry.
            Malformed: names the field.
        """
        fingerprint = self._named(name, which, ever=True) if isinstance(which, str) else self._keyed(which)
        hash_type, key = fingerprint.hash_type, fingerprint.value
        answer = lists_pb2.GetEntryHistoryResponse()
        with self._store.view() as view:
            record = view.list(name)
            for number in range(1, record.last_version + 1):
                contents = Contents(view, record.list_number, number)
                version = contents.version
                if not version.HasField("first_activated_at"):
                    continue  # it never counted
                entry = contents.entry(view, hash_type, key)
                event = _event(version, self._before(view, record, version, hash_type, key), entry)
                if event is not None:
                    answer.events.append(event)
                if entry is not None:
                    payload = entry.SerializeToString()
                    answer.entry.CopyFrom(messages.entry(self.entry_ids, record, contents, hash_type, key, payload))
                    answer.active |= number == record.active_version
            entry_id = self.entry_ids(name, fingerprint)
            of_it = (one for one in view.suppressions(record.list_number) if one.entry_id == entry_id)
            answer.suppressions.extend(of_it)
        if not answer.events:
            raise NotFound(f"'{name}' never had such an entry")
        return answer

    @staticmethod
    def _before(
        view: ListView, record: ListRecord, version: VersionRecord, hash_type: str, key: bytes
    ) -> EntryRecord | None:
        """The entry in what was active before a version was."""
        if not version.activated_after:
            return None
        return Contents(view, record.list_number, version.activated_after).entry(view, hash_type, key)

    def suppressions(self, name: str = "") -> list[lists_pb2.Suppression]:
        """What is suppressed in a list, or in all of them.

        Raises:
            NotFound: no such list.
        """
        with self._store.view() as view:
            records = [view.list(name)] if name else view.lists()
            return [one for record in records for one in view.suppressions(record.list_number)]

    def _recipe_of(self, fingerprint: Fingerprint) -> Recipe:
        """The recipe of a fingerprint that is of a known hash type and its length.

        Raises:
            Malformed: it is not; names the field.
        """
        recipe = self.recipe(fingerprint.hash_type)
        if len(fingerprint.value) != recipe.value_bytes and not (recipe.opaque and fingerprint.value):
            raise Malformed(
                f"{recipe.hash_type}: {len(fingerprint.value)} bytes, want {recipe.value_bytes}",
                field="fingerprint.value",
            )
        return recipe

    def recipe(self, hash_type: str) -> Recipe:
        """The recipe of a hash type; of one without, that some list has entries of, an opaque one.

        Raises:
            Malformed: there is neither; names the field.
        """
        if hash_type in self._recipes:
            return self._recipes[hash_type]
        with self._store.view() as view:
            known = view.hash_types() | self._recipes.keys()
        if hash_type not in known:
            raise Malformed(f"unknown hash type; known: {', '.join(sorted(known))}", field="fingerprint.hash_type")
        return opaque(hash_type)


def _passes(entry: lists_pb2.Entry, asked: lists_pb2.BrowseEntriesRequest) -> bool:
    added = convert.moment(entry.added_at)
    return (
        asked.label in ("", entry.label)
        and asked.source in ("", entry.source)
        and (not asked.HasField("added_from") or added >= _given(asked, "added_from"))
        and (not asked.HasField("added_before") or added < _given(asked, "added_before"))
    )


def _given(asked: lists_pb2.BrowseEntriesRequest, field: str) -> datetime:
    try:
        return convert.moment(getattr(asked, field))
    except (ValueError, OverflowError) as e:
        raise Malformed("not a time between the years 1 and 9999", field=field) from e


def _event(
    version: VersionRecord, before: EntryRecord | None, after: EntryRecord | None
) -> lists_pb2.EntryEvent | None:
    """What activating a version did to an entry; None where it left it as it was."""
    if before is None and after is None:
        return None
    if before is not None and after is not None:
        if says(before.SerializeToString()) == says(after.SerializeToString()):
            return None
        what = "changed"
    else:
        what = "listed" if before is None else "removed"
    return lists_pb2.EntryEvent(
        at=version.first_activated_at, what=what, version=version.version, by=version.created_by, reason=version.reason
    )
