"""What is wrong with the credentials of a state directory; part of `hashmatch check`."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path

from hashmatch.access.credentials import TABLES, certificate_key
from hashmatch.errors import Corrupt, HashmatchError
from hashmatch.store import check, codec
from hashmatch.store.check import Report
from hashmatch.store.env import DATA_FILE, Env, Txn
from hashmatch.v1.store_pb2 import CredentialChange, CredentialRecord, UsageRecord

ENVIRONMENT = "access"


def check_access(report: Report, state: Path) -> None:
    """Reads every row: each is what was written, and every certificate leads to the credential that names it."""
    path = state / "keys" / "access"
    if not (path / DATA_FILE).exists() or not check.check_structure(report, path):
        return
    try:
        env = Env(path, TABLES, readonly=True)
    except HashmatchError as e:
        report.add(ENVIRONMENT, "meta", str(e))
        return
    with closing(env), env.read() as txn:
        for table, step in _STEPS.items():
            for key, value in txn.cursor(env.table(table)):
                report.count(table)
                report.attempt(ENVIRONMENT, table, partial(step, env, txn, bytes(key), bytes(value)))


def _credential(env: Env, txn: Txn, key: bytes, value: bytes) -> None:
    record = codec.read(key, value, "credentials", CredentialRecord)
    if record.id.encode() != key:
        raise Corrupt(f"credential {key.decode(errors='replace')} calls itself {record.id}")
    if record.certificate and txn.get(certificate_key(record.certificate), db=env.table("certificates")) is None:
        raise Corrupt(f"credential {record.id} is not found by its certificate")


def _certificate(env: Env, txn: Txn, key: bytes, value: bytes) -> None:
    owner = codec.unseal(key, value, "certificates")
    stored = txn.get(owner, db=env.table("credentials"))
    if stored is None:
        raise Corrupt("a certificate leads to no credential")
    record = codec.read(owner, stored, "credentials", CredentialRecord)
    if certificate_key(record.certificate) != key:
        raise Corrupt(f"a certificate leads to credential {record.id}, which names another")


def _usage(env: Env, txn: Txn, key: bytes, value: bytes) -> None:
    codec.read(key, value, "usage", UsageRecord)


def _change(env: Env, txn: Txn, key: bytes, value: bytes) -> None:
    change = codec.read(key, value, "changes", CredentialChange)
    number = int.from_bytes(key)
    if number > 1 and txn.get((number - 1).to_bytes(8), db=env.table("changes")) is None:
        raise Corrupt(f"change {number - 1} of the credentials is missing")
    if txn.get(change.credential.id.encode(), db=env.table("credentials")) is None:
        raise Corrupt(f"change {number} is of a credential that is not there")


_STEPS = {"credentials": _credential, "certificates": _certificate, "usage": _usage, "changes": _change}
