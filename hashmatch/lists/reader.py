"""Reading the hash lists: everything that can be asked of them without changing them.

Answers are the messages of lists.proto. Canaries are never in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from hashmatch.errors import Corrupt, Malformed, Refused
from hashmatch.index.recipe import Recipe
from hashmatch.lists import messages, staging, versions
from hashmatch.lists.contents import Contents
from hashmatch.lists.entry_ids import EntryIds
from hashmatch.store.lists import ListStore
from hashmatch.types import Fingerprint
from hashmatch.v1 import lists_pb2
from hashmatch.v1.store_pb2 import ListRecord

PAGE_ENTRIES = 4096  # of an export in one read transaction, so that a slow reader holds none open


class ListReader:
    """Reads the lists of one store. For any thread."""

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

    def get(self, name: str) -> lists_pb2.HashList:
        """A list with its versions.

        Raises:
            NotFound: there is no such list.
        """
        with self._store.view() as view:
            return messages.hash_list(view, view.list(name))

    def all(self) -> lists_pb2.ListListsResponse:
        """Every list with its newest versions, by name, and the revision they are at."""
        with self._store.view() as view:
            lists = [messages.hash_list(view, record, messages.MAX_VERSIONS_LISTED) for record in view.lists()]
            return lists_pb2.ListListsResponse(lists=lists, revision=view.revision)

    def diff(self, name: str, from_version: int = 0, to_version: int = 0) -> lists_pb2.DiffListResponse:
        """What one version has against another. 0: from the active version, to the newest staged one.

        Raises:
            NotFound: no such list or version.
            Refused: nothing is staged.
        """
        with self._store.view() as view:
            record = view.list(name)
            old = from_version or record.active_version
            new = to_version or versions.newest_staged(view, record).version
            before = Contents(view, record.list_number, old) if old else None
            found = staging.compare(view, before, Contents(view, record.list_number, new))
            return lists_pb2.DiffListResponse(from_version=old, to_version=new, diff=found)

    def look_up(self, fingerprint: Fingerprint) -> lists_pb2.LookUpEntryResponse:
        """The active entries under exactly this fingerprint.

        Raises:
            Malformed: names the field.
        """
        self._recipe_of(fingerprint)
        with self._store.view() as view:
            answer = lists_pb2.LookUpEntryResponse(revision=view.revision)
            for record in view.lists():
                contents = versions.active_contents(view, record)
                found = contents and contents.entry(view, fingerprint.hash_type, fingerprint.value)
                if contents and found:
                    entry = messages.entry(self.entry_ids, record, contents, fingerprint, found.SerializeToString())
                    answer.entries.append(lists_pb2.ListedEntry(list=record.name, entry=entry))
            return answer

    def export(self, name: str, version: int = 0) -> Iterator[lists_pb2.Entry]:
        """The entries of a version (0: the active one), by hash type and value.

        Raises:
            NotFound: no such list or version.
            Refused: nothing is active.
        """
        with self._store.view() as view:
            record = view.list(name)
            if not (version or record.active_version):
                raise Refused(f"no version of '{name}' is active; name one")
            contents = Contents(view, record.list_number, version or record.active_version)
        return self._pages(record, contents)

    def _pages(self, record: ListRecord, contents: Contents) -> Iterator[lists_pb2.Entry]:
        for hash_type in contents.hash_types():
            after: bytes | None = None
            while True:
                with self._store.view() as view:
                    page = list(islice(contents.rows(view, hash_type, after), PAGE_ENTRIES))
                for value, payload in page:
                    yield messages.entry(self.entry_ids, record, contents, Fingerprint(hash_type, value), payload)
                if len(page) < PAGE_ENTRIES:
                    break
                after = page[-1][0]

    def _recipe_of(self, fingerprint: Fingerprint) -> Recipe:
        """The recipe of a fingerprint that is of a known hash type and its length.

        Raises:
            Malformed: it is not; names the field.
        """
        recipe = self._recipes.get(fingerprint.hash_type)
        if recipe is None:
            known = ", ".join(sorted(self._recipes))
            raise Malformed(f"unknown hash type; known: {known}", field="fingerprint.hash_type")
        if len(fingerprint.value) != recipe.value_bytes:
            raise Malformed(
                f"{recipe.hash_type}: {len(fingerprint.value)} bytes, want {recipe.value_bytes}",
                field="fingerprint.value",
            )
        return recipe
