"""Erasing what is personal: keys are destroyed, the events stay, and a tombstone says what and why.

What lies outside the tree goes with them: answers that are kept for retries, and the sample of traffic. Freed pages of
the ledger's file may hold a destroyed key until they are written again; a backup never copies them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from hashmatch.audit.ledger import Ledger
from hashmatch.audit.sealing import Class
from hashmatch.errors import Malformed, Refused
from hashmatch.store.env import Txn
from hashmatch.store.traffic import Traffic
from hashmatch.v1.audit_pb2 import Event
from hashmatch.v1.common_pb2 import Subject

EXPIRED_AT_ONCE = 5_000  # keys destroyed in one transaction: some 100 ms, which verdicts wait for


def subject(*, uploader_id: str = "", content_id: str = "") -> Subject:
    """Who is to be erased: an uploader, or the content of nobody named.

    Raises:
        Malformed: neither is given.
    """
    if not uploader_id and not content_id:
        raise Malformed("give an uploader's id, or a content's", field="uploader_id")
    return Subject(uploader_id=uploader_id, content_id=content_id)


class Kept(Protocol):
    """What keeps a subject's data, by its keyed digest."""

    def why(self, txn: Txn, digest: bytes, now: datetime) -> str:
        """What keeps it now, in words; "" where nothing does."""

    def forget(self, txn: Txn, digest: bytes) -> None:
        """It is erased: what is told of it elsewhere in the ledger is to go, too."""


def erase(ledger: Ledger, who: Subject, *, ground: str, by: str, kept: Kept) -> int:
    """Destroys every key of a subject and forgets its answers; how many keys there were.

    Raises:
        Malformed: no ground is given.
        Refused: something keeps it, as the law or an order wants.
        StoreFull, StoreFailed, Corrupt: nothing was erased.
    """
    event = _tombstone(ground, by)
    with ledger.changing() as log:
        digest = ledger.sealing.subject_digest(who)
        if why := kept.why(log.txn, digest, log.at):
            raise Refused(f"it must not be erased: {why}")
        kept.forget(log.txn, digest)
        event.erased.key_ids.extend(ledger.sealing.destroy(log.txn, ledger.sealing.key_ids(log.txn, who)))
        ledger.rows.forget_subject(log.txn, who)
        log.append(event)
    return len(event.erased.key_ids)


def expire(ledger: Ledger, *, days: int, now: datetime, ground: str, by: str, kept: Kept) -> int:
    """Destroys the keys of verdicts of months that ended more than `days` ago, but for those of subjects that something
    keeps; how many there were.

    Raises:
        Malformed: as `erase`, or fewer days than a month.
        StoreFull, StoreFailed, Corrupt: some may have been destroyed already; the log says which.
    """
    if days < 31:
        raise Malformed("want at least 31 days: keys are destroyed by whole months", field="days")
    number, last = 0, b""
    while True:
        event = _tombstone(ground, by)
        with ledger.changing() as log:
            old = ledger.sealing.older(log.txn, Class.VERDICTS, now - timedelta(days=days), EXPIRED_AT_ONCE, last)
            last = old[-1][0] if old else last
            free = [key for key, digest in old if not digest or not kept.why(log.txn, digest, log.at)]
            event.erased.key_ids.extend(ledger.sealing.destroy(log.txn, free))
            if event.erased.key_ids:
                log.append(event)
        number += len(event.erased.key_ids)
        if len(old) < EXPIRED_AT_ONCE:
            return number


def forget(traffic: Traffic, who: Subject) -> int:
    """Erases a subject's items from the sample of traffic; how many there were."""
    return traffic.forget(who.uploader_id) if who.uploader_id else 0


def _tombstone(ground: str, by: str) -> Event:
    if not ground.strip():
        raise Malformed("must be given, for the log", field="ground")
    event = Event()
    event.erased.ground, event.erased.by = ground.strip(), by
    return event
