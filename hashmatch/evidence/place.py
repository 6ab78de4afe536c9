"""Where an item's files lie, and the order in which they come and go.

    XX/ID.key            wrapped key and facts. An item is there exactly when this is; so it comes last and goes first
    XX/ID.sealed         the encrypted media
    XX/ID.*.new          half-written, of a process that died or writes now
    XX/ID.gone           the key of an item that is being destroyed: nothing reads it, and it will be overwritten
    XX/.lock             held by whoever changes a file of the folder

XX is the start of a digest of the id, so that folders stay small. Canaries lie in canary/ the same way.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from hashmatch.errors import Corrupt, Malformed
from hashmatch.evidence import durable
from hashmatch.evidence.record import MAX_RECORD_BYTES, Record, parse

CANARIES: Final = "canary"
_CANARY = re.compile(r"canary-[0-9a-f]{16}")
_ITEM_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FOLDER = re.compile(r"[0-9a-f]{2}")
_SUFFIXES = (".key", ".key.new", ".sealed", ".sealed.new", ".gone")


class Place:
    """The files of one item. What changes them is called under `held`."""

    def __init__(self, vault: Path, item_id: str) -> None:
        self.item_id = item_id
        folder = CANARIES if _CANARY.fullmatch(item_id) else hashlib.sha256(item_id.encode()).hexdigest()[:2]
        self.folder = vault / folder
        self.key, self.key_new, self.body, self.body_new, self.gone = (
            self.folder / (item_id + suffix) for suffix in (".key", ".key.new", ".sealed", ".sealed.new", ".gone")
        )

    def make(self) -> None:
        """The item's folder, on disk, where it is not there yet."""
        vault = self.folder.parent
        if not vault.is_dir():
            vault.mkdir(parents=True, exist_ok=True, mode=0o700)
            durable.sync_directory(vault.parent)
        self.folder.mkdir(exist_ok=True, mode=0o700)
        durable.sync_directory(vault)  # though it was there: whoever made it may not have come to this

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else changes files of the folder meanwhile."""
        with durable.locked(self.folder / ".lock"):
            yield

    def record(self) -> Record | None:
        """What the key file says; None: there is no such item.

        Raises:
            Corrupt: it is damaged.
        """
        return self._read(self.key)

    def _read(self, path: Path) -> Record | None:
        try:
            with open(path, "rb") as file:
                stored = file.read(MAX_RECORD_BYTES + 1)
        except FileNotFoundError:
            return None
        return parse(stored, self.item_id)

    def publish(self, record: Record) -> None:
        """Makes the half-written body and this key the item. It is on disk when this returns."""
        durable.write(self.key_new, [record.encode()])
        self.body_new.replace(self.body)
        durable.sync_directory(self.folder)  # no key may last without what it opens
        self.key_new.replace(self.key)
        durable.sync_directory(self.folder)

    def exchange(self, record: Record) -> None:
        """Puts another key file in the place of the item's, and overwrites the old one."""
        if self.key_new.exists():
            self._erase(self.key_new)
        with open(self.key, "r+b") as former:
            durable.write(self.key_new, [record.encode()])
            self.key_new.replace(self.key)
            durable.sync_directory(self.folder)
            durable.overwrite(former)

    def destroy(self) -> Record | None:
        """Destroys key and body, or what is left of them; what the key said, None where nothing readable was left."""
        said = None
        if self.key.exists():
            self.key.replace(self.gone)  # from here on there is no such item, whatever happens
            durable.sync_directory(self.folder)
        with suppress(Corrupt):
            said = self._read(self.gone)
        for key in (self.key_new, self.gone):  # a half-written one is the same key, wrapped anew
            if key.exists():
                self._erase(key)
        gone = [durable.remove(body) for body in (self.body_new, self.body)]
        if any(gone):
            durable.sync_directory(self.folder)
        return said

    def abandon(self) -> None:
        """Takes away what a failed `publish` left, as far as the disk lets it."""
        for key in (self.key, self.key_new):
            with suppress(OSError):
                self._erase(key)
        for path in (self.key, self.key_new, self.body_new, self.body):
            with suppress(OSError):
                durable.remove(path)
        with suppress(OSError):
            durable.sync_directory(self.folder)

    def half(self) -> bool:
        """Whether there is what a process left that died: half an item, or one half destroyed."""
        return self.key_new.exists() or self.body_new.exists() or self.gone.exists() or self.keyless()

    def keyless(self) -> bool:
        """Whether there is a body alone: of a process that died, or of an item whose key file was lost."""
        return self.body.exists() and not self.key.exists() and not self.gone.exists()

    def mend(self) -> bool:
        """Finishes what was half destroyed and takes away what was half written; whether there was anything."""
        if not self.half():
            return False
        if not self.key.exists():
            self.destroy()
            return True
        for key in (self.key_new, self.gone):
            if key.exists():
                self._erase(key)
        durable.remove(self.body_new)
        return True

    def _erase(self, key: Path) -> None:
        """Overwrites a key file and takes its name away; both are on disk when this returns."""
        with open(key, "r+b") as file:
            durable.overwrite(file)
        durable.remove(key)
        durable.sync_directory(self.folder)


def item_place(vault: Path, item_id: str) -> Place:
    """The place of a caller's item.

    Raises:
        Malformed: not an item's id.
    """
    if not _ITEM_ID.fullmatch(item_id) or item_id.startswith("canary-"):
        raise Malformed("want at most 64 letters, digits, _ and -", field="item_id")
    return Place(vault, item_id)


def canary_place(vault: Path, master_id: str) -> Place:
    """The place of the canary of a master key."""
    return Place(vault, "canary-" + hashlib.sha256(master_id.encode()).hexdigest()[:16])


def places(vault: Path, *, canaries: bool = False) -> Iterator[Place]:
    """Every item's, or every canary's, that has any file, in the order of folders and ids."""
    try:
        folders = sorted(path for path in vault.iterdir() if _FOLDER.fullmatch(path.name) or path.name == CANARIES)
    except FileNotFoundError:
        return
    for folder in folders:
        if (folder.name == CANARIES) != canaries:
            continue
        names = (path.name for path in folder.iterdir())
        for item_id in sorted({name.partition(".")[0] for name in names if name.endswith(_SUFFIXES)}):
            place = Place(vault, item_id)
            if _ITEM_ID.fullmatch(item_id) and place.folder == folder:  # else it is somebody else's file
                yield place
