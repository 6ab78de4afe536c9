"""Reading the hash lists: everything that can be asked of them without changing them.

Answers are the messages of lists.proto. Canaries are never in them.
"""

from __future__ import annotations

from collections.abc import Iterator

from hashmatch.errors import NotFound, Refused
from hashmatch.lists import messages, staging, versions
from hashmatch.lists.contents import Contents
from hashmatch.lists.entry_reader import EntryReader
from hashmatch.v1 import lists_pb2
from hashmatch.v1.store_pb2 import ListRecord


class ListReader(EntryReader):
    """Reads the lists of one store. For any thread."""

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
            after = Contents(view, record.list_number, new)
        found = staging.compare(self._store, before, after)
        return lists_pb2.DiffListResponse(from_version=old, to_version=new, diff=found)

    def staged(self, name: str) -> int:
        """The number of the newest staged version.

        Raises:
            NotFound: no such list.
            Refused: nothing is staged.
        """
        with self._store.view() as view:
            return versions.newest_staged(view, view.list(name)).version

    def report(self, name: str, version: int = 0) -> lists_pb2.ImportListResponse:
        """What an import found, as it was told when it was staged. 0: the newest import.

        Raises:
            NotFound: no such list or version, or that version was not an import.
        """
        with self._store.view() as view:
            record = view.list(name)
            for one in [view.version(record.list_number, version)] if version else view.versions(record):
                if one.HasField("report"):
                    return one.report
        raise NotFound(f"version {version} of '{name}' is no import" if version else f"'{name}' has no import")

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
        return self._entries(record, contents)

    def _entries(self, record: ListRecord, contents: Contents) -> Iterator[lists_pb2.Entry]:
        for hash_type in contents.hash_types():
            for key, payload in contents.all_rows(self._store, hash_type):
                yield messages.entry(self.entry_ids, record, contents, hash_type, key, payload)
