"""Sealed media on a local disk, each item under a key of its own.

What `seal` has returned is there after a power cut; what `destroy` has returned is gone. A process that dies in between
leaves no item, or a whole one; `upkeep.sweep` takes the rest away. Destroying a key destroys the item: what may be left
of its bytes on a disk cannot be read. A key file that was copied, as backups are, must be destroyed there too; against
blocks that flash keeps, change the master key afterwards and destroy the old one.

Several processes and threads may share a directory: whoever changes it holds a lock of the item's folder.
"""

from __future__ import annotations

import hashlib
import io
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from hashmatch.errors import BadConfig, Conflict, Corrupt, HashmatchError, NotFound
from hashmatch.evidence import durable, stream
from hashmatch.evidence.master import Master
from hashmatch.evidence.place import Place, canary_place, item_place, places
from hashmatch.evidence.record import Record, Sealed, described

_CANARY: Final = b"the canary of a hashmatch evidence vault"
_BUFFER_BYTES: Final = 64 << 10
_NO_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)  # of a canary: when it was sealed says nothing


@dataclass(frozen=True, slots=True)
class Destroyed:
    """What was destroyed. Its digest is a fingerprint of it, so `repr` does not show it."""

    key_id: bytes
    sha256: bytes

    def __repr__(self) -> str:
        return f"<destroyed what key {self.key_id.hex()} opened>"


class Vault:
    """The sealed items of a directory."""

    def __init__(self, directory: Path, master: Master, *, former: Sequence[Master] = ()) -> None:
        """Touches nothing yet. `former`: other master keys, which only unwrap what they had wrapped."""
        self.directory, self.master = directory.absolute(), master
        self._former = {one.id: one for one in former}
        self._proved = ""  # the master key that has a canary, and nothing is wrapped by another

    # ── the master key ──────────────────────────────────────────────────────────────────────────────────────────────

    def prove(self) -> None:
        """Opens a canary of each master key in use, so that a lost key is told when a server starts; makes what lacks.

        Where there are items and no canary, as where one part of a backup was restored, one item of each master key.

        Raises:
            BadConfig: a master key is lost, or is another one.
            Corrupt: a canary is damaged.
            StoreFull, StoreFailed: the disk refused.
        """
        master_id = self.master.id  # it may change from here on
        with durable.translated(self.directory):
            canaries = [record for place in places(self.directory, canaries=True) if (record := place.record())]
            some = canaries or list({r.sealed.master_id: r for r in self._records()}.values())
        for record in some:
            try:
                self._unwrap(record)
            except HashmatchError as e:
                raise BadConfig(f"the vault's master key does not open it: {e}") from e
        for record in canaries:
            with self._open(Place(self.directory, record.sealed.item_id)) as opened:
                if opened.read() != _CANARY:
                    raise Corrupt("a canary of the vault is not what was sealed")
        self._seal(canary_place(self.directory, master_id), io.BytesIO(_CANARY), "text/plain", _NO_TIME)
        self._proved = master_id

    def _unwrap(self, record: Record) -> bytes:
        sealed = record.sealed
        key = self._former.get(sealed.master_id, self.master).unwrap(record.wrapped, sealed.context())
        if len(key) != stream.KEY_BYTES:
            raise Corrupt(f"the key of {sealed.item_id} unwraps to {len(key)} bytes, want {stream.KEY_BYTES}")
        return key

    # ── items ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def seal(self, item_id: str, media: bytes | BinaryIO, *, media_type: str, at: datetime) -> Sealed:
        """Keeps media, or what a file still has; it is on disk when this returns. The same again changes nothing.

        Raises:
            Malformed: names the field.
            Conflict: something else is sealed under that id.
            Corrupt: what is sealed under that id is damaged.
            StoreFull, StoreFailed, BadConfig: the disk or the master key refused; nothing is kept.
        """
        place = item_place(self.directory, item_id)
        media_type, at = described(media_type, at)
        if self._proved != self.master.id:
            self.prove()
        return self._seal(place, io.BytesIO(media) if isinstance(media, bytes) else media, media_type, at)

    def _seal(self, place: Place, media: BinaryIO, media_type: str, at: datetime) -> Sealed:
        digests = _Digests()
        with durable.translated(self.directory):
            place.make()
            with place.held():
                known = place.record()
                if known is not None:
                    digests.exhaust(stream.chunks(media))
                    if digests.sha256.digest() != known.sealed.sha256:
                        raise Conflict(f"{place.item_id} is sealed already, and is something else")
                    durable.sync_directory(place.folder)  # whoever sealed it may have died before it came to this
                    return known.sealed
                place.mend()
                key = secrets.token_bytes(stream.KEY_BYTES)
                try:
                    durable.write(place.body_new, stream.seal(key, digests.over(stream.chunks(media))))
                    sealed = Sealed(
                        item_id=place.item_id, key_id=secrets.token_bytes(16), sha256=digests.sha256.digest(),
                        md5=digests.md5.digest(), size=digests.size, media_type=media_type, sealed_at=at,
                        master_id=self.master.id,
                    )  # fmt: skip
                    place.publish(Record(sealed, self.master.wrap(key, sealed.context())))
                except BaseException:
                    place.abandon()
                    raise
        return sealed

    def describe(self, item_id: str) -> Sealed | None:
        """What is known of an item without opening it; None: there is none.

        Raises:
            Malformed, Corrupt, StoreFailed.
        """
        place = item_place(self.directory, item_id)
        with durable.translated(self.directory):
            record = place.record()
        return None if record is None else record.sealed

    def open(self, item_id: str) -> tuple[BinaryIO, int]:
        """An item's media, read-only and seekable, to be closed; and how many bytes. It is decrypted as it is read.

        Raises, and so does reading it:
            NotFound: there is none.
            Corrupt: it is damaged.
            BadConfig: its master key is not there.
            StoreFailed: it cannot be read now.
        """
        opened = self._open(item_place(self.directory, item_id))
        return io.BufferedReader(opened, _BUFFER_BYTES), opened.size

    def _open(self, place: Place) -> stream.Opened:
        with durable.translated(self.directory):
            record = place.record()
            if record is None:
                raise NotFound(f"{place.item_id} is not in the vault")
            key = self._unwrap(record)
            try:
                file = open(place.body, "rb")  # noqa: SIM115 - closed with what is returned
            except FileNotFoundError as e:
                if place.record() is None:  # destroyed meanwhile
                    raise NotFound(f"{place.item_id} is not in the vault") from e
                raise Corrupt(f"the body of {place.item_id} is lost; restore it from a backup") from e
            try:
                return stream.Opened(file, key, record.sealed.size)
            except BaseException:
                file.close()
                raise

    def destroy(self, item_id: str) -> Destroyed | None:
        """Destroys an item's key, then its body; they are gone from the disk when this returns.

        Call it again where it failed or the process died. None: there was nothing, or nothing that said what it was;
        so whoever logs a destruction asks `describe` first.

        Raises:
            Malformed, StoreFull, StoreFailed.
        """
        place = item_place(self.directory, item_id)
        with durable.translated(self.directory):
            if not place.folder.exists():
                return None
            with place.held():
                said = place.destroy()
        return None if said is None else Destroyed(said.sealed.key_id, said.sealed.sha256)

    def rewrap(self, item_id: str) -> bool:
        """Wraps an item's key by the master key that wraps now; False: it was already.

        Raises:
            NotFound, Malformed, Corrupt, BadConfig.
            StoreFull, StoreFailed: it is as it was, or it is done and the former key file was not overwritten.
        """
        place = item_place(self.directory, item_id)
        if self._proved != self.master.id:
            self.prove()
        with durable.translated(self.directory):
            place.make()
            with place.held():
                record = place.record()
                if record is None:
                    raise NotFound(f"{item_id} is not in the vault")
                if record.sealed.master_id == self.master.id:
                    return False
                sealed = replace(record.sealed, master_id=self.master.id)
                place.exchange(Record(sealed, self.master.wrap(self._unwrap(record), sealed.context())))
        return True

    def items(self) -> Iterator[str]:
        """The ids of all items, in no order of meaning."""
        with durable.translated(self.directory):
            for place in places(self.directory):
                if place.key.exists():
                    yield place.item_id

    def _records(self) -> Iterator[Record]:
        return (record for place in places(self.directory) if (record := place.record()) is not None)


class _Digests:
    """Of media, while it passes."""

    def __init__(self) -> None:
        self.sha256, self.md5, self.size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0

    def over(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The pieces, each digested as it is taken."""
        for piece in pieces:
            self.sha256.update(piece)
            self.md5.update(piece)
            self.size += len(piece)
            yield piece

    def exhaust(self, pieces: Iterable[bytes]) -> None:
        """Digests all pieces."""
        for _ in self.over(pieces):
            pass
