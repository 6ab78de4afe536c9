"""Checkpoints: what this log signs of its tree, and the key it signs with.

A checkpoint is signed and stored in the very transaction whose tree it is of, under the write lock that all processes
share, so two that contradict each other cannot both be made. The key is STATE/keys/log.key, which nobody but its owner
may read; the log remembers the public half, so a key that was exchanged is noticed before it signs.

A new key is announced by an event, and the checkpoint with that event bears both signatures: who trusts the old key
learns the new one from what the old one signed.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hashmatch.audit import tables
from hashmatch.audit.leaves import Appending, Leaves
from hashmatch.audit.note import Checkpoint, Signer
from hashmatch.errors import BadConfig, Corrupt
from hashmatch.store import codec, keys
from hashmatch.store.env import Env, Txn
from hashmatch.v1.audit_pb2 import Event

NAME, NEXT = "log", "log-next"  # files in keys/


class Checkpoints:
    """The table `checkpoints` of one ledger's environment, and the key of its log."""

    def __init__(self, env: Env, leaves: Leaves, state: Path) -> None:
        self._env, self._leaves, self._state = env, leaves, state
        self._table = leaves.checkpoints
        self._signer: Signer | None = None

    def load(self, txn: Txn) -> bool:
        """Reads the key that the log is signed by; False where the log has none yet.

        Raises:
            BadConfig: others than its owner may read it.
            Corrupt: it is lost, or not this log's.
        """
        if self._leaves.kept(txn, tables.KEY) is None:
            return False
        self._signing(txn)
        return True

    def begin(self, txn: Txn, origin: str) -> None:
        """Gives a log its name and its key, unless another process just has."""
        if self._leaves.kept(txn, tables.KEY) is None:
            name = origin or f"hashmatch/{secrets.token_hex(8)}"
            signer = self._read(NAME, name, create=True)
            self._leaves.keep(txn, tables.ORIGIN, name.encode())
            self._leaves.keep(txn, tables.KEY, signer.verifier_key.encode())
        self._signing(txn)

    def origin(self, txn: Txn) -> str:
        """The log's name; "" before it has one."""
        return (self._leaves.kept(txn, tables.ORIGIN) or b"").decode()

    def verifier_key(self, txn: Txn) -> str:
        """The public half of the key that signs now, as signed notes write it; "" before there is one."""
        return (self._leaves.kept(txn, tables.KEY) or b"").decode()

    def size(self, txn: Txn) -> int:
        """The size of the newest checkpoint; 0 where there is none."""
        with txn.cursor(db=self._table) as cursor:
            return tables.sequence_of(cursor.key()) if cursor.last() else 0

    def note(self, txn: Txn, size: int = 0) -> bytes:
        """The newest checkpoint, or the one of that size; empty where there is none.

        Raises:
            Corrupt: it is damaged.
        """
        key = tables.sequence_key(size or self.size(txn))
        stored = txn.get(key, db=self._table)
        return b"" if stored is None else codec.unseal(key, stored, "checkpoints")

    def sizes(self, txn: Txn, after: int, until: int) -> Iterator[int]:
        """The sizes that have a checkpoint, ascending, after one and up to another."""
        with txn.cursor(db=self._table) as cursor:
            if cursor.set_range(tables.sequence_key(after + 1)):
                for key in cursor.iternext(values=False):
                    if (size := tables.sequence_of(key)) > until:
                        return
                    yield size

    def sign(self, log: Appending) -> bytes:
        """Signs the tree as it is in this transaction, and keeps the checkpoint.

        Raises:
            Corrupt, BadConfig: as `load`.
        """
        return self._put(log, [self._signing(log.txn)])

    def cosign(self, txn: Txn, size: int, lines: bytes) -> bytes:
        """Adds witnesses' signature lines to the checkpoint of that size; the note with them."""
        note, key = self.note(txn, size), tables.sequence_key(size)
        fresh = [line for line in lines.splitlines(keepends=True) if line not in note]
        note += b"".join(fresh)
        txn.put(key, codec.seal(key, note), db=self._table)
        return note

    def rotate(self, log: Appending, *, by: str, reason: str) -> str:
        """Makes a new key, announces it, and signs with both; the new verifier key. `settle` ends it, once on disk."""
        old = self._signing(log.txn)
        (self._state / "keys" / f"{NEXT}.key").unlink(missing_ok=True)
        new = self._read(NEXT, old.name, create=True)
        event = Event()
        said = event.log_key_changed
        said.key, said.previous, said.by, said.reason = new.verifier_key, old.verifier_key, by, reason
        log.append(event)
        self._put(log, [old, new])
        self._leaves.keep(log.txn, tables.KEY, new.verifier_key.encode())
        return new.verifier_key

    def settle(self) -> None:
        """Lets the new key be the key, where one was announced."""
        with self._env.read() as txn:
            self._signing(txn)

    def _put(self, log: Appending, signers: list[Signer]) -> bytes:
        text = Checkpoint(self.origin(log.txn), log.size, log.root()).text()
        note = text + b"\n" + b"".join(signer.sign(text) for signer in signers)
        key = tables.sequence_key(log.size)
        log.txn.put(key, codec.seal(key, note), db=self._table)
        return note

    def _signing(self, txn: Txn) -> Signer:
        """The key that the log says it is signed by."""
        wanted = self.verifier_key(txn)
        if self._signer is None or self._signer.verifier_key != wanted:
            signer = self._read(NAME, self.origin(txn))
            if signer.verifier_key != wanted:
                signer = self._announced(wanted, signer.name)
            self._signer = signer
        return self._signer

    def _announced(self, wanted: str, name: str) -> Signer:
        """The new key where it was announced and a crash came before its file had its name."""
        folder = self._state / "keys"
        if (folder / f"{NEXT}.key").exists():
            signer = self._read(NEXT, name)
            if signer.verifier_key == wanted:
                (folder / f"{NEXT}.key").replace(folder / f"{NAME}.key")
                return signer
        raise Corrupt(f"{folder / NAME}.key is not the key that this log is signed by; restore it from a backup")

    def _read(self, file: str, name: str, *, create: bool = False) -> Signer:
        seed = keys.kept(self._state, file, create=create)
        path = self._state / "keys" / f"{file}.key"
        if path.stat().st_mode & 0o077:
            raise BadConfig(f"{path}: others than its owner may read it, and sign in this log's name; chmod 600")
        return Signer(name, Ed25519PrivateKey.from_private_bytes(seed))
