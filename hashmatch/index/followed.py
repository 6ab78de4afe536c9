"""What an index follows: the store, as far as an index asks of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from hashmatch.index.generation import Entries
from hashmatch.types import Revision
from hashmatch.v1 import lists_pb2
from hashmatch.v1.store_pb2 import ListRecord, VersionRecord


class Edit(Protocol):
    """What a version did to one key."""

    @property
    def hash_type(self) -> str: ...
    @property
    def key(self) -> bytes: ...
    @property
    def payload(self) -> bytes | None: ...


class View(Protocol):
    """One moment of the store."""

    @property
    def revision(self) -> Revision: ...

    def lists(self) -> list[ListRecord]: ...

    def version(self, list_number: int, version: int) -> VersionRecord: ...

    def versions(self, record: ListRecord) -> Iterator[VersionRecord]: ...

    def base_version(self, list_number: int, version: VersionRecord) -> VersionRecord: ...

    def differing(self, list_number: int, old: VersionRecord, new: VersionRecord) -> Iterable[Edit]: ...

    def suppressions(self, list_number: int) -> Iterable[lists_pb2.Suppression]: ...


class Store(Entries, Protocol):
    """What is followed."""

    def mark(self) -> int:
        """A number that changes whenever anything was committed."""

    def view(self) -> AbstractContextManager[View]: ...

    def base_keys(self, list_number: int, version: VersionRecord) -> Iterator[tuple[str, list[bytes]]]: ...
