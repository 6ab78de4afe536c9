"""Secret keys of a state directory, STATE/keys/NAME.key: 32 random bytes that only their owner may read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from hashmatch.errors import BadConfig, Corrupt
from hashmatch.store.env import sync_directory

KEY_BYTES = 32


def kept(state: Path, name: str, *, create: bool = True) -> bytes:
    """The key of that name; where there is none it is made, if `create` says so.

    Raises:
        BadConfig: it cannot be read or made.
        Corrupt: it is not a key, or it is lost.
    """
    path = state / "keys" / f"{name}.key"
    try:
        if not path.exists():
            if not create:
                raise Corrupt(f"{path} is lost; restore it from a backup")
            _create(path)
        key = path.read_bytes()
    except OSError as e:
        raise BadConfig(f"cannot use {path}: {e.strerror}") from e
    if len(key) != KEY_BYTES:
        raise Corrupt(f"{path}: {len(key)} bytes, want {KEY_BYTES}; restore it from a backup")
    return key


def _create(path: Path) -> None:
    """Makes the key once, however many processes try: the first to link its file wins, and all read that one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink()
    sync_directory(path.parent)
