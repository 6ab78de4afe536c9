"""Callers that are known, in STATE/keys/access: by a bearer key, or by a name in a client certificate.

A key is `hm_ID_SECRET`: its id finds the row, its secret proves it. The secret has 256 random bits and is shown once;
what is kept is its SHA-256, compared in constant time. A slow password hash would add nothing against guessing 256
bits, and would be paid on every call. A key that is revoked or has expired is refused from the next call on, in every
server process, since each call reads the row (2 µs) that is committed now.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from hashmatch import clock, convert
from hashmatch.errors import Conflict, Malformed, NotFound, Refused
from hashmatch.roles import ANONYMOUS, Role, roles_from
from hashmatch.store import codec
from hashmatch.store.env import Env, Txn
from hashmatch.v1.audit_pb2 import CredentialChanged, Event
from hashmatch.v1.store_pb2 import CredentialChange, CredentialRecord, UsageRecord

PREFIX = "hm"  # of every key, so that scanners of source code and logs find one that leaked
ID_BYTES, SECRET_BYTES = 6, 32
MAX_KEY_CHARS = 128  # of what is tried as a key; longer is refused unread
MAX_NAME_CHARS = 64
MAX_CERTIFICATE_CHARS = 256  # of a name in a certificate
MAX_CREDENTIALS = 10_000
USAGE_DAYS = 90  # for which use is kept, so that an unused key is noticed

_NUMBER = struct.Struct(">Q")  # key in `changes`
TABLES = ("credentials", "certificates", "usage", "changes")


@dataclass(frozen=True, slots=True)
class Credential:
    """One known caller, as stored; neither secret nor digest is in it."""

    id: str
    name: str
    roles: frozenset[Role]
    certificate: str  # the name that proves it; "": a key does
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    per_second: int  # calls; 0: no limit
    per_day: int

    def dead(self, now: datetime) -> str:
        """Why it is refused; "" while it is not."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else ""


class Credentials:
    """The credentials of one state directory. For any thread; open it once per process."""

    def __init__(self, state: Path, *, now: Callable[[], datetime] = clock.now) -> None:
        """Opens STATE/keys/access, making it where it is missing.

        Raises:
            BadConfig: it cannot be used.
            Corrupt: what is there is damaged.
        """
        self._env = Env(state / "keys" / "access", TABLES)
        self._now = now
        self._any: tuple[int, bool] | None = None  # the transaction it was true at, and whether there was any

    def close(self) -> None:
        self._env.close()

    def create(
        self,
        name: str,
        roles: Iterable[str],
        *,
        by: str,
        certificate: str = "",
        expires_at: datetime | None = None,
        per_second: int = 0,
        per_day: int = 0,
    ) -> tuple[Credential, str]:
        """A new credential, and its key: the only time that is seen. "" where a certificate's name proves it.

        Raises:
            Malformed: names the field.
            Conflict: another live one has that name or certificate: two persons are told apart by name.
        """
        wanted = roles_from(roles, "roles")
        if not wanted:
            raise Malformed("give at least one role", field="roles")
        if not name.isprintable() or not 0 < len(name) <= MAX_NAME_CHARS or name != name.strip():
            raise Malformed(f"1..{MAX_NAME_CHARS} printable characters, no white space at an end", field="name")
        if name == ANONYMOUS:
            raise Malformed("is what callers without a key are called", field="name")
        if len(certificate) > MAX_CERTIFICATE_CHARS or not certificate.isprintable():
            raise Malformed(f"at most {MAX_CERTIFICATE_CHARS} printable characters", field="certificate")
        now = self._now()
        if expires_at is not None and expires_at <= now:
            raise Malformed("is past already", field="expires_at")
        if per_second < 0 or per_day < 0 or per_second >= 1 << 32 or per_day >= 1 << 64:
            raise Malformed("want 0 or more", field="per_second" if not 0 <= per_second < 1 << 32 else "per_day")
        secret = secrets.token_bytes(SECRET_BYTES)
        record = CredentialRecord(
            id=secrets.token_hex(ID_BYTES),
            name=name,
            roles=sorted(wanted),
            created_at=convert.timestamp(now),
            created_by=by,
            expires_at=convert.timestamp(expires_at) if expires_at else None,
            per_second=per_second,
            per_day=per_day,
        )
        if certificate:
            record.certificate = certificate
        else:
            record.secret_digest = hashlib.sha256(secret).digest()
        with self._env.write() as txn:
            others = [_credential(one) for one in self._all(txn)]
            if len(others) >= MAX_CREDENTIALS:
                raise Refused(f"there are {len(others)} credentials already")
            for other in others:
                if other.dead(now):
                    continue
                if other.name.casefold() == name.casefold():  # two persons are told apart by name
                    raise Conflict(f"there is a credential named '{name}'; revoke it first, or choose another name")
                if certificate and other.certificate == certificate:
                    raise Conflict(f"'{other.name}' is known by that certificate already")
            self._put(txn, "credentials", record.id.encode(), record.SerializeToString())
            self._changed(txn, CredentialChange(at=record.created_at, credential=record, by=by))
            if certificate:
                self._put(txn, "certificates", certificate_key(certificate), record.id.encode())
        return _credential(record), "" if certificate else f"{PREFIX}_{record.id}_{secret.hex()}"

    def revoke(self, credential_id: str, *, by: str) -> Credential:
        """The credential, which is refused from now on.

        Raises:
            NotFound: there is none of that id.
        """
        with self._env.write() as txn:
            record = self._record(txn, credential_id)
            if record is None:
                raise NotFound(f"no credential has the id '{credential_id[:32]}'")
            if not record.HasField("revoked_at"):
                record.revoked_at.CopyFrom(convert.timestamp(self._now()))
                record.revoked_by = by
                self._put(txn, "credentials", record.id.encode(), record.SerializeToString())
                self._changed(txn, CredentialChange(at=record.revoked_at, credential=record, revoked=True, by=by))
            return _credential(record)

    def all(self) -> list[tuple[Credential, datetime | None]]:
        """Every credential, dead ones too, by name, each with when it was last used."""
        with self._env.read() as txn:
            used: dict[str, datetime] = {}
            for key, stored in _pairs(txn, self._env.table("usage")):
                record = codec.read(key, stored, "usage", UsageRecord)
                used[key[4:].decode()] = convert.moment(record.last_at)  # days ascend
            found = [_credential(record) for record in self._all(txn)]
        return [(one, used.get(one.id)) for one in sorted(found, key=lambda c: (c.name, c.created_at))]

    def any(self) -> bool:
        """Whether there ever was a credential. 1 µs while nothing is written."""
        mark = self._env.last_transaction()
        if self._any is None or self._any[0] != mark:
            with self._env.read() as txn:
                self._any = mark, txn.stat(self._env.table("credentials"))["entries"] > 0
        return self._any[1]

    def of_key(self, key: str) -> tuple[Credential | None, str]:
        """The credential that a key proves, or None and why not: "malformed", "unknown", "revoked" or "expired".

        The reason is for the trace and the metrics; a caller is told none.
        """
        parts = key.split("_") if len(key) <= MAX_KEY_CHARS else []
        if len(parts) != 3 or parts[0] != PREFIX or len(parts[1]) != 2 * ID_BYTES or len(parts[2]) != 2 * SECRET_BYTES:
            return None, "malformed"
        try:
            secret = bytes.fromhex(parts[2])
        except ValueError:
            return None, "malformed"
        if not (parts[1].isascii() and parts[1].isalnum()) or len(secret) != SECRET_BYTES:
            return None, "malformed"
        with self._env.read() as txn:
            record = self._record(txn, parts[1])
        digest = hashlib.sha256(secret).digest()
        if record is None or not hmac.compare_digest(digest, record.secret_digest):
            return None, "unknown"
        return self._living(record)

    def of_certificate(self, names: Iterable[str]) -> tuple[Credential | None, str]:
        """The credential that one of a certificate's names proves, or None and why not: as `of_key`."""
        why = "unknown"
        with self._env.read() as txn:
            for name in names:
                key = certificate_key(name)
                stored = txn.get(key, db=self._env.table("certificates"))
                if stored is None:
                    continue
                record = self._record(txn, codec.unseal(key, stored, "certificates").decode())
                if record is not None and record.certificate == name:
                    found, why = self._living(record)
                    if found is not None:
                        return found, ""
        return None, why

    def dead(self, credential_id: str) -> str:
        """Why a credential proves nothing any more: "unknown", "revoked" or "expired"; "" while it does."""
        with self._env.read() as txn:
            record = self._record(txn, credential_id)
        return _credential(record).dead(self._now()) if record is not None else "unknown"

    def _living(self, record: CredentialRecord) -> tuple[Credential | None, str]:
        credential = _credential(record)
        dead = credential.dead(self._now())
        return (None, dead) if dead else (credential, "")

    def use(self, counted: Mapping[str, int], day: date) -> dict[str, int]:
        """Adds requests of one day by credential id, on disk; what each then has, over all server processes."""
        totals: dict[str, int] = {}
        now = convert.timestamp(self._now())
        with self._env.write() as txn:
            for credential_id, requests in counted.items():
                key = _usage_key(day, credential_id)
                stored = txn.get(key, db=self._env.table("usage"))
                record = UsageRecord() if stored is None else codec.read(key, stored, "usage", UsageRecord)
                record.requests += requests
                record.last_at.CopyFrom(now)
                self._put(txn, "usage", key, record.SerializeToString())
                totals[credential_id] = record.requests
            self._forget(txn, day - timedelta(days=USAGE_DAYS))
        return totals

    def used(self, credential_id: str, day: date) -> int:
        """Requests of one day."""
        key = _usage_key(day, credential_id)
        with self._env.read() as txn:
            stored = txn.get(key, db=self._env.table("usage"))
        return 0 if stored is None else codec.read(key, stored, "usage", UsageRecord).requests

    # ── the feed that the log follows ───────────────────────────────────────────────────────────────────────────────

    name = "credentials"

    def mark(self) -> int:
        """A number that changes whenever anything was written. About 1 µs."""
        return self._env.last_transaction()

    def after(self, position: int, limit: int) -> list[Event]:
        """At most `limit` changes that follow that position, in order: as `audit.feeds.Feed`."""
        found = []
        with self._env.read() as txn, txn.cursor(self._env.table("changes")) as cursor:
            if cursor.set_range(_NUMBER.pack(position + 1)):
                for key, stored in islice(cursor, limit):
                    change = codec.read(key, stored, "changes", CredentialChange)
                    found.append(Event(credential_changed=_told(_NUMBER.unpack(key)[0], change)))
        return found

    def _changed(self, txn: Txn, change: CredentialChange) -> None:
        change.credential.ClearField("secret_digest")
        with txn.cursor(self._env.table("changes")) as cursor:
            number = _NUMBER.unpack(cursor.key())[0] if cursor.last() else 0
        self._put(txn, "changes", _NUMBER.pack(number + 1), change.SerializeToString())

    def _forget(self, txn: Txn, before: date) -> None:
        end = before.toordinal().to_bytes(4, "big")
        with txn.cursor(self._env.table("usage")) as cursor:
            while cursor.first() and bytes(cursor.key()) < end:
                cursor.delete()

    def _record(self, txn: Txn, credential_id: str) -> CredentialRecord | None:
        key = credential_id.encode()
        stored = txn.get(key, db=self._env.table("credentials")) if 0 < len(key) <= MAX_KEY_CHARS else None
        return None if stored is None else codec.read(key, stored, "credentials", CredentialRecord)

    def _all(self, txn: Txn) -> list[CredentialRecord]:
        rows = _pairs(txn, self._env.table("credentials"))
        return [codec.read(key, stored, "credentials", CredentialRecord) for key, stored in rows]

    def _put(self, txn: Txn, table: str, key: bytes, payload: bytes) -> None:
        txn.put(key, codec.seal(key, payload), db=self._env.table(table))


def _credential(record: CredentialRecord) -> Credential:
    return Credential(
        id=record.id,
        name=record.name,
        roles=frozenset(Role(role) for role in record.roles),
        certificate=record.certificate,
        created_at=convert.moment(record.created_at),
        created_by=record.created_by,
        expires_at=convert.moment(record.expires_at) if record.HasField("expires_at") else None,
        revoked_at=convert.moment(record.revoked_at) if record.HasField("revoked_at") else None,
        per_second=record.per_second,
        per_day=record.per_day,
    )


def _told(number: int, change: CredentialChange) -> CredentialChanged:
    record = change.credential
    told = CredentialChanged(
        number=number,
        changed_at=change.at,
        credential_id=record.id,
        name=record.name,
        roles=record.roles,
        revoked=change.revoked,
        by=change.by,
        certificate=record.certificate,
    )
    if record.HasField("expires_at"):
        told.expires_at.CopyFrom(record.expires_at)
    return told


def certificate_key(name: str) -> bytes:
    """A name may be longer than a key of LMDB."""
    return hashlib.sha256(name.encode()).digest()


def _usage_key(day: date, credential_id: str) -> bytes:
    return day.toordinal().to_bytes(4, "big") + credential_id.encode()


def _pairs(txn: Txn, table: Any) -> list[tuple[bytes, bytes]]:
    return [(bytes(key), bytes(value)) for key, value in txn.cursor(table)]
