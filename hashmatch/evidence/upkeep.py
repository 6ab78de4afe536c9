"""What is done to a vault beside its daily work: whether all of it opens, what dead processes left, old master keys."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from hashmatch.errors import BadConfig, Corrupt, NotFound, StoreFailed
from hashmatch.evidence import durable, stream
from hashmatch.evidence.place import places
from hashmatch.evidence.record import Sealed
from hashmatch.evidence.vault import Vault


@dataclass(frozen=True, slots=True)
class Damage:
    """An item that does not open, or is not what was sealed."""

    item_id: str
    what: str


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found."""

    mended: int  # items that a dead process had half written or half destroyed; nothing is left of them
    orphans: tuple[Sealed, ...]  # whole items that nobody knows; nothing was done to them
    lost: tuple[str, ...]  # known items whose key file is missing; nothing was done to what is left of them


def check(vault: Vault, wanted: Iterable[str] = ()) -> Iterator[Damage]:
    """Reads everything, and tells what is damaged or has lost its master key. Others may seal and destroy meanwhile.

    Args:
        wanted: ids that must be there.
    Raises:
        StoreFailed: the directory cannot be read, or a key service not be asked.
    """
    for item_id in vault.items():
        try:
            _read_whole(vault, item_id)
        except NotFound:
            continue  # destroyed meanwhile
        except (Corrupt, BadConfig) as e:
            yield Damage(item_id, str(e))
    for item_id in wanted:
        with suppress(Corrupt):  # it is there, and was told of above
            if vault.describe(item_id) is None:
                yield Damage(item_id, f"{item_id} is not in the vault; restore it from a backup")


def _read_whole(vault: Vault, item_id: str) -> None:
    sealed = vault.describe(item_id)
    if sealed is None:
        raise NotFound(item_id)
    opened, _ = vault.open(item_id)
    with opened:
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        try:
            for piece in stream.chunks(opened):
                sha256.update(piece)
                md5.update(piece)
        except StoreFailed as e:  # sectors that a disk does not give back: damage of this item alone
            raise Corrupt(str(e)) from e
    if (sha256.digest(), md5.digest()) != (sealed.sha256, sealed.md5):
        raise Corrupt(f"{item_id} is not what its digests say")


def sweep(vault: Vault, known: Callable[[str], bool], older_than: datetime) -> Swept:
    """Takes away what dead processes left, and finds items that nobody knows, and known ones that lack their key.

    Neither are destroyed here. Where an older copy of the ledger was restored, orphans are evidence that must be kept;
    who has ruled that out calls `Vault.destroy`. And a key file may yet come back from a backup.

    Args:
        known: whether an item is kept by what the ledger says, so not one whose destruction it has. Under no lock.
        older_than: items sealed at or after this are not orphans yet; what knows them may be about to be written.
    Raises:
        StoreFull, StoreFailed: the disk refused; call it again.
    """
    mended, orphans, lost = 0, [], []
    with durable.translated(vault.directory):
        for place in [*places(vault.directory, canaries=True), *places(vault.directory)]:
            if place.keyless() and known(place.item_id):
                lost.append(place.item_id)
            elif place.half():  # or being written: then it is whole once we hold the lock
                with place.held():
                    mended += place.mend()
    for item_id in vault.items():
        if known(item_id):
            continue
        try:
            sealed = vault.describe(item_id)
        except Corrupt:
            continue  # `check` tells of it
        if sealed is not None and sealed.sealed_at < older_than:
            orphans.append(sealed)
    return Swept(mended, tuple(orphans), tuple(lost))


def retire(vault: Vault) -> tuple[str, ...]:
    """Forgets the master keys that no item is wrapped by any more; returns their ids, and `prove` wants them no longer.

    After `Vault.rewrap` of every item, and once no server runs with a former key.

    Raises:
        Corrupt: an item does not say what wraps it.
        StoreFull, StoreFailed: the disk refused; call it again.
    """
    gone = []
    with durable.translated(vault.directory):
        used = {record.sealed.master_id for place in places(vault.directory) if (record := place.record()) is not None}
        for place in list(places(vault.directory, canaries=True)):
            with place.held():
                record = place.record()
                if record is not None and record.sealed.master_id not in used | {vault.master.id}:
                    place.destroy()
                    gone.append(record.sealed.master_id)
    return tuple(gone)
