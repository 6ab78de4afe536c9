"""Where the media of an item is had from, for reports, views and packages: the vault, or the platform."""

from __future__ import annotations

import io
import logging
from typing import BinaryIO, Protocol

from hashmatch.audit.ledger import Ledger
from hashmatch.delivery.evidence_fetch import EvidenceFetch
from hashmatch.errors import Corrupt, NotFound
from hashmatch.v1.cases_pb2 import CaseItem

trace = logging.getLogger(__name__)


class Sealed(Protocol):
    """A vault, as far as it is read."""

    def open(self, item_id: str) -> tuple[BinaryIO, int]:
        """An item's bytes, to be closed, and how many.

        Raises:
            NotFound: it is not there. Corrupt: it is damaged. StoreFailed: it cannot be read now.
        """


class FromVault:
    """What is kept sealed here."""

    def __init__(self, vault: Sealed) -> None:
        self._vault = vault

    def open(self, item: CaseItem) -> tuple[BinaryIO, int] | None:
        """As `report_preparing.Evidence`."""
        if not item.evidence or item.HasField("destroyed_at"):
            return None
        return self._vault.open(item.verdict_id)


class FromPlatform:
    """What the platform keeps, and gives while it is asked for by name."""

    def __init__(self, ledger: Ledger, fetch: EvidenceFetch) -> None:
        self._ledger, self._fetch = ledger, fetch

    def open(self, item: CaseItem) -> tuple[BinaryIO, int] | None:
        """As `report_preparing.Evidence`. What was looked up by fingerprints alone has no digest to know it by, and
        what a person told of was never judged: neither is fetched."""
        try:
            verdict = self._ledger.verdict(item.verdict_id).verdict
        except NotFound:
            return None
        digest = next((h.fingerprint.value for h in verdict.hashed if h.hash_type == "sha256"), b"")
        if not digest or not item.subject.content_id:
            return None
        try:
            found = self._fetch.fetch(
                content_id=item.subject.content_id, verdict_id=item.verdict_id, case_id=verdict.case_id, sha256=digest
            )
        except Corrupt as e:
            # A report must not carry another file, and must not wait for one that may never come: it says which.
            trace.error("verdict %s: %s", item.verdict_id, e)
            return None
        return None if found is None else (io.BytesIO(found), len(found))
