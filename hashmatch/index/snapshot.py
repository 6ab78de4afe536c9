"""Bases on disk: written once, published whole, mapped by every process that searches them, and never trusted.

A snapshot is a directory of flat arrays and a manifest that says what it is of, how it is laid out, and the digest of
every block of every file. It is written under another name, synced, and renamed; its name says what it is of, so
nothing is ever changed in place, and who has mapped it keeps it however often it is deleted. On loading every block is
read and digested, on all cores at once (SHA-256 at 1.8 GB/s a core: a third of a second for ten million rows): a
flipped bit, a cut file or a file of something else is found, and the snapshot is built anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashmatch.errors import Corrupt, Refused
from hashmatch.index import base as base_
from hashmatch.index import hamming, plan
from hashmatch.index.base import Base

FORMAT = 1
BLOCK_BYTES = 16 << 20  # digested as one: many enough that all cores have work to the end
ROWS, OFFSETS, IDS, MANIFEST = "rows.u8", "offsets.u4", "ids.u4", "manifest.json"
_DRAFT = ".draft-"
_POPULATE_READ = 22  # MADV_POPULATE_READ of Linux 5.14, which the mmap module has no name for


@dataclass(frozen=True, slots=True)
class Identity:
    """What a snapshot is of."""

    list_number: int
    version: int
    hash_type: str
    root_digest: str  # of everything the version holds
    recipe_digest: str
    count: int  # rows


def path_of(directory: Path, identity: Identity) -> Path:
    """Where the snapshot of this lies, if there is one."""
    short = hashlib.sha256(json.dumps(asdict(identity), sort_keys=True).encode()).hexdigest()[:16]
    return directory / f"{identity.list_number}-{identity.version}-{identity.hash_type}-{short}"


def publish(
    directory: Path, identity: Identity, width: int, ceiling: int, chunks: Iterable[bytes], *, revision: int
) -> Path:
    """Writes a snapshot and returns its directory; it appears whole and synced, or not at all.

    Args:
        width: bytes per value.
        ceiling: the greatest threshold that is expected; a wider search is as exact, and compares everything.
        chunks: values, joined, in strictly ascending order over all chunks.
        revision: of the lists when this was read, for people.
    Raises:
        Refused: the values do not ascend, or are not `count` of this width.
        OSError: it cannot be written.
    """
    to = path_of(directory, identity)
    draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=directory))
    try:
        count = _write_rows(draft / ROWS, width, chunks)
        if count != identity.count:
            raise Refused(f"{count} values, want {identity.count}")
        cut = plan.choose(count, 8 * width, ceiling)
        rows = _mapped(draft / ROWS, np.uint8).reshape(-1, width)
        offsets = _room(draft / OFFSETS, plan.offsets_length(plan.sizes(8 * width, cut)) if cut else 0)
        ids = _room(draft / IDS, cut * count)
        if cut:
            base_.postings(rows, cut, offsets, ids)
            for written in (offsets, ids):
                if isinstance(written, np.memmap):
                    written.flush()
        files = {name: _digests(draft / name) for name in (ROWS, OFFSETS, IDS)}
        manifest = {
            "format": FORMAT,
            **asdict(identity),
            "width": width,
            "chunks": cut,
            "revision": revision,
            "files": files,
        }
        _write_manifest(draft / MANIFEST, manifest)
        for name in (ROWS, OFFSETS, IDS):
            _sync(draft / name)
        _sync(draft)
        put_in_place(draft, to)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return to


def put_in_place(made: Path, to: Path) -> None:
    """Gives a snapshot that is written and synced its name, in place of what has that now: damaged, or the same."""
    old = to.with_name(f"{_DRAFT}old-{to.name}")
    if to.exists():
        shutil.rmtree(old, ignore_errors=True)
        to.rename(old)  # nothing under the name, for a moment, is better than half of something
    made.rename(to)
    _sync(to.parent)
    shutil.rmtree(old, ignore_errors=True)


def _write_rows(path: Path, width: int, chunks: Iterable[bytes]) -> int:
    count, last = 0, b""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        for chunk in chunks:
            if not chunk:
                continue
            rows = hamming.pack(chunk, width)
            values = rows.view(f"S{width}").reshape(-1)
            if (count and chunk[:width] <= last) or not (values[:-1] < values[1:]).all():
                raise Refused("values of a snapshot must be in strictly ascending order")
            file.write(chunk)
            count, last = count + len(rows), chunk[-width:]
    return count


def _room(path: Path, length: int) -> NDArray[np.uint32]:
    """A new file of so many numbers, mapped to be written."""
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "r+b") as file:
        if not length:
            return np.empty(0, np.uint32)
        os.posix_fallocate(file.fileno(), 0, 4 * length)  # a full disk is told of here, not by a signal later
        return np.memmap(file, np.uint32, "r+", shape=(length,))


def _mapped(path: Path, kind: Any) -> NDArray[Any]:
    """A file's content, mapped; its pages are in place at once, so that no search waits for the first touch of one."""
    size = path.stat().st_size
    if not size:
        return np.empty(0, kind)
    with open(path, "rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with contextlib.suppress(OSError, ValueError, AttributeError):  # older kernels and other systems: a hint, no more
        content.madvise(_POPULATE_READ)
    return np.frombuffer(content, kind)


def _write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """The manifest, with its own digest as its last line."""
    text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text + hashlib.sha256(text.encode()).hexdigest() + "\n")
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _digests(path: Path) -> dict[str, Any]:
    """A file's length and the digest of each of its blocks."""
    size = path.stat().st_size
    starts = range(0, size, BLOCK_BYTES)
    with open(path, "rb") as file, ThreadPoolExecutor(os.cpu_count()) as threads:
        fd = file.fileno()
        blocks = threads.map(lambda at: hashlib.sha256(os.pread(fd, BLOCK_BYTES, at)).hexdigest(), starts)
        return {"bytes": size, "sha256": list(blocks)}


def load(directory: Path, identity: Identity, *, verify: bool = True) -> Base | None:
    """The base of this, mapped; None where there is none.

    Raises:
        Corrupt: it is damaged, or of something else; says what.
    """
    path = path_of(directory, identity)
    try:
        manifest = _manifest(path / MANIFEST)
    except FileNotFoundError:
        if path.exists():
            raise Corrupt(f"{path.name} has no manifest") from None
        return None
    for key, value in asdict(identity).items():
        if manifest.get(key) != value:
            raise Corrupt(f"{path.name} is of another {key.replace('_', ' ')}")
    try:
        for name, told in manifest["files"].items() if verify else ():
            if _digests(path / name) != told:
                raise Corrupt(f"{name} of {path.name} is not what was written")
        width, chunks = int(manifest["width"]), int(manifest["chunks"])
        rows = _mapped(path / ROWS, np.uint8).reshape(-1, width)
        if len(rows) != identity.count:
            raise Corrupt(f"{path.name} has {len(rows)} rows, want {identity.count}")
        return Base(rows, chunks, _mapped(path / OFFSETS, np.uint32), _mapped(path / IDS, np.uint32))
    except (OSError, KeyError, TypeError, ValueError) as e:
        raise Corrupt(f"{path.name} cannot be read: {e}") from e


def _manifest(path: Path) -> dict[str, Any]:
    text, _, digest = path.read_bytes().removesuffix(b"\n").rpartition(b"\n")
    if (
        path.stat().st_size != len(text) + len(digest) + 2
        or hashlib.sha256(text + b"\n").hexdigest().encode() != digest
    ):
        raise Corrupt(f"the manifest of {path.parent.name} is not what was written")
    found: dict[str, Any] = json.loads(text)
    if found.get("format") != FORMAT:
        raise Corrupt(f"{path.parent.name} has format {found.get('format')}, want {FORMAT}")
    return found


def sweep(directory: Path, keep: Collection[Identity]) -> int:
    """Deletes every other snapshot, and what broken-off builders left; how many. For who holds the build lock."""
    kept = {path_of(directory, identity).name for identity in keep}
    gone = [path for path in directory.iterdir() if path.is_dir() and path.name not in kept]
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)
    return len(gone)
