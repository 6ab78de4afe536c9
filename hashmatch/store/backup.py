"""A backup: consistent copies of both environments and the keys, with digests, taken while others write.

The copy is built beside its destination and renamed into place when all of it is on disk, so a backup is whole or not
there. The ledger is copied first and the lists after it: every revision that a copied verdict names is then in the
copied lists. Evidence follows, sealed as it is: what the copied ledger names was sealed before, and is there unless
destroyed meanwhile. Its master key is not in the state and not in the copy. Snapshots are not copied, since they are
rebuilt, nor is the sample of traffic, which is not to outlive its days. Restoring is copying the directory back.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import hashmatch
from hashmatch import clock
from hashmatch.errors import BadConfig, Corrupt, HashmatchError, Refused
from hashmatch.store.env import DATA_FILE, Env, failure, sync_directory

MANIFEST = "backup.json"
ENVIRONMENTS = ("ledger", "lists")  # in the order of copying
EVIDENCE = "evidence"  # the vault's directory
CREDENTIALS = "keys/access"  # the environment of those who may call


def back_up(state: Path, to: Path) -> dict[str, object]:
    """Makes the directory `to` and returns its manifest.

    Raises:
        BadConfig: there is no state to back up.
        Refused: `to` exists and is not an empty directory.
        StoreFull, StoreFailed: it could not be written; nothing stays of it.
        Corrupt: the state is damaged.
    """
    present = [name for name in ENVIRONMENTS if (state / name / DATA_FILE).exists()]
    if not present:
        raise BadConfig(f"there is no state at {state}")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise Refused(f"{to} exists already; name a directory that is new or empty")
    to = to.absolute()
    draft = to.with_name(f".{to.name}.{os.getpid()}.partial")
    try:
        draft.mkdir(parents=True, mode=0o700)
        commits = {name: _copy(state / name, draft / name) for name in present}
        _copy_keys(state / "keys", draft / "keys")
        if (state / CREDENTIALS / DATA_FILE).exists():
            commits[CREDENTIALS] = _copy(state / CREDENTIALS, draft / CREDENTIALS)
        _copy_evidence(state / EVIDENCE, draft / EVIDENCE)
        manifest: dict[str, object] = {
            "written_by": f"hashmatch {hashmatch.__version__}",
            "at": clock.now().isoformat(),
            "commits": commits,
            "blake2b-256": {str(file.relative_to(draft)): _digest(file) for file in _files(draft)},
        }
        _write(draft / MANIFEST, json.dumps(manifest, indent=2).encode())
        sync_directory(draft)
        draft.replace(to)
        sync_directory(draft.parent)
    except OSError as e:
        raise failure(to, e) from e
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


def differences(copy: Path) -> Iterator[tuple[str, str]]:
    """Files of a backup that are not what its manifest says, each with how. None where the copy is no backup, or has
    been used since: then its files are rightly others.

    Raises:
        Corrupt: the manifest cannot be read.
    """
    path = copy / MANIFEST
    if not path.exists():
        return
    try:
        manifest = json.loads(path.read_bytes())
        commits, digests = manifest["commits"], manifest["blake2b-256"]
        used = any(_commit(copy / name) != commit for name, commit in commits.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise Corrupt(f"the manifest of the backup cannot be read: {e}") from e
    except HashmatchError as e:
        raise Corrupt(f"the backup cannot be opened: {e}") from e
    if used:
        return
    for name, digest in digests.items():
        if not (copy / name).is_file():
            yield name, "is missing from the backup"
        elif _digest(copy / name) != digest:
            yield name, "is not what was backed up"


def _copy(source: Path, to: Path) -> int:
    """Copies an environment; the number of the copy's last commit."""
    with closing(Env(source, (), readonly=True, format=None)) as env:
        env.copy(to)
    return _commit(to)


def _commit(directory: Path) -> int:
    with closing(Env(directory, (), readonly=True, format=None)) as env:
        return env.last_transaction()


def _copy_keys(source: Path, to: Path) -> None:
    if source.is_dir():
        to.mkdir(mode=0o700)
        for key in _files(source):
            if key.parent == source:  # what lies deeper is an environment, and is copied as one
                _write(to / key.name, key.read_bytes())
        sync_directory(to)


def _copy_evidence(source: Path, to: Path) -> None:
    """Copies sealed files, each body before its key, so that no copied key lacks its body."""
    if not source.is_dir():
        return
    kept = [path for path in _files(source) if path.suffix in (".sealed", ".key")]
    for path in sorted(kept, key=lambda one: one.suffix, reverse=True):
        copy = to / path.relative_to(source)
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with open(path, "rb") as file:
                fd = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with open(fd, "wb") as out:
                    shutil.copyfileobj(file, out, 1 << 20)
                    out.flush()
                    os.fsync(out.fileno())
        except FileNotFoundError:  # destroyed meanwhile: then neither half is to outlive that
            continue
    for body in to.rglob("*.sealed") if to.is_dir() else ():
        if not body.with_suffix(".key").exists():
            body.unlink()
    for directory in (one for one in to.rglob("*") if one.is_dir()):
        sync_directory(directory)


def _write(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _files(directory: Path) -> list[Path]:
    """The files that matter, not the locks and drafts of running processes."""
    found = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return [path for path in found if path.name != "lock.mdb" and not path.name.startswith(".")]


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).hexdigest()
