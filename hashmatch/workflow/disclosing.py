"""What is handed to an agency that may have it: the facts of its cases and their evidence, sealed to its certificate.

Two persons stand behind every package: who checked the inquiry, and who makes the package. Facts are the platform's
own: what was uploaded, when and by whom, as the platform told it. Fingerprints of listed material are in no package.
What is too much for one package is shared out over several, in the order in which it came, so that what joins a case
meanwhile is in the last.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from google.protobuf.json_format import MessageToDict

from hashmatch.audit.ledger import Ledger
from hashmatch.errors import Conflict, Malformed, NotFound, Refused
from hashmatch.evidence.package import MAX_PACKAGE_BYTES, Part, read_recipient, write_package
from hashmatch.hashing.registry import REGISTRY
from hashmatch.v1.audit_pb2 import Event
from hashmatch.v1.cases_pb2 import CaseItem, InquiryRecord
from hashmatch.workflow.case_store import CaseStore
from hashmatch.workflow.casework import Casework
from hashmatch.workflow.inquiries import Inquiries
from hashmatch.workflow.inquiry import DISCLOSES, OPEN, RULES, Kind, State, another
from hashmatch.workflow.report_preparing import Evidence

MAX_ITEMS: Final = 5000  # of one package, besides the facts of the cases

_CASE: Final = (
    "id", "tier", "subject", "detectedAt", "containedAt", "decidedAt", "reportedAt", "closedAt", "items", "authority",
)  # fmt: skip
_ITEM: Final = ("verdictId", "at", "subject", "labels", "mediaType")


@dataclass(frozen=True, slots=True)
class Disclosed:
    """A package that was written, and what is not in it."""

    files: int
    manifest_sha256: bytes
    missing: tuple[str, ...]  # verdicts whose media nobody has
    packages: int  # it is one of so many


def disclose(
    ledger: Ledger, cases: Casework, inquiries: Inquiries, evidence: Evidence | None, inquiry_id: str, *,
    target: Path | BinaryIO, recipient: bytes, by: str, most: int = MAX_PACKAGE_BYTES, number: int = 1,
) -> Disclosed:  # fmt: skip
    """Writes a package of an inquiry, and then to the log that it was: nobody has it before.

    Args:
        target: a file that is not there yet; or where the package is written, to be handed out once this returns.
        recipient: the agency's certificate, PEM or DER.
        most: bytes of evidence in one package.
        number: which of the packages, from 1.
        by: who makes it, another person than who checked the inquiry.
    Raises:
        NotFound: there is none of that id.
        Refused: its kind is not answered so, it is not checked yet, or the same person checked it.
        Malformed, Conflict: the certificate cannot be used, there is no such package; there is such a file.
        StoreFull, StoreFailed, Corrupt: nothing was written.
    """
    missing: list[str] = []
    with ledger.env.read() as txn:
        row = inquiries.get(txn, inquiry_id)
    checked = _checked(row, by)
    now = ledger.now()
    certificate = read_recipient(recipient, now)
    items, sizes = _items(ledger, cases.store, row)
    if evidence is None and any(item.evidence_bytes and not item.HasField("destroyed_at") for item in items):
        raise Refused("evidence is kept in a vault that is not known here: name the workflow's file of the server")
    shares = _shares(sizes, most)
    if not 1 <= number <= len(shares):
        raise Malformed(f"want 1 to {len(shares)}: there are so many packages", field="package")
    about = {
        "package": number, "packages": len(shares),
        "inquiry": row.id, "agency": row.agency, "reference": row.reference, "legal_basis": row.legal_basis,
        "scope": row.scope, "made_at": now.isoformat(), "cases": list(row.case_ids),
    }  # fmt: skip
    draft = target.with_name(f".{target.name}.{row.id}.draft") if isinstance(target, Path) else target
    if isinstance(target, Path) and target.exists():
        raise Conflict(f"{target} is there already")
    if isinstance(draft, Path):
        draft.unlink(missing_ok=True)  # of one that died
    made = write_package(
        draft, _parts(ledger, cases.store, evidence, row, shares[number - 1], missing), manifest=about,
        recipient=certificate,
    )  # fmt: skip
    event = Event()
    said = event.disclosed
    said.inquiry_id, said.manifest_digest, said.recipient, said.files = (
        row.id, made.manifest_digest, made.recipient, made.files,
    )  # fmt: skip
    said.case_ids.extend(row.case_ids)
    said.by.extend((checked, by))
    try:
        with ledger.changing() as log:
            _checked(inquiries.get(log.txn, inquiry_id), by)  # it may have been refused meanwhile
            log.append(event)
    except BaseException:
        if isinstance(draft, Path):
            draft.unlink(missing_ok=True)
        raise
    if isinstance(draft, Path) and isinstance(target, Path):  # what the log does not know has no name of its own
        draft.replace(target)
    return Disclosed(made.files, made.manifest_digest, tuple(missing), len(shares))


def _checked(row: InquiryRecord, by: str) -> str:
    """Who checked an inquiry that may be answered so."""
    kind, state = Kind(row.kind), State(row.state)
    if kind not in DISCLOSES:
        raise Refused(f"an inquiry of kind {kind} is not answered with evidence")
    if state not in OPEN or OPEN.index(state) < OPEN.index(RULES[kind].needs):
        raise Refused(f"an inquiry of kind {kind} is answered while it is {RULES[kind].needs}, and this one is {state}")
    checked = row.approved_by or row.verified_by
    another(by, checked)
    return checked


def _items(ledger: Ledger, store: CaseStore, row: InquiryRecord) -> tuple[list[CaseItem], dict[str, int]]:
    """What it is about, and how many bytes each verdict's media has, in the order in which it came."""
    with ledger.env.read() as txn:
        found = [item for case_id in row.case_ids for item in store.items(txn, case_id)]
    found.sort(key=lambda item: (item.at.ToNanoseconds(), item.verdict_id))
    return found, {item.verdict_id: item.evidence_bytes or _judged(ledger, item) for item in found}


def _judged(ledger: Ledger, item: CaseItem) -> int:
    """Bytes that were judged: as many as the platform keeps, where it keeps them."""
    try:
        return ledger.verdict(item.verdict_id).verdict.media_bytes
    except NotFound:  # a person told of it
        return 0


def _shares(sizes: Mapping[str, int], most: int) -> list[frozenset[str]]:
    """The verdicts whose media is in each package. What is destroyed counts: so the others stay where they were."""
    shares: list[set[str]] = [set()]
    room = most
    for verdict_id, size in sizes.items():
        if shares[-1] and (size > room or len(shares[-1]) == MAX_ITEMS):
            shares.append(set())
            room = most
        shares[-1].add(verdict_id)
        room -= size
    return [frozenset(share) for share in shares]


def _parts(
    ledger: Ledger, store: CaseStore, evidence: Evidence | None, row: InquiryRecord, share: Collection[str],
    missing: list[str],
) -> Iterator[Part]:  # fmt: skip
    """The facts of every case, and the media of that share."""
    for case_id in row.case_ids:
        with ledger.env.read() as txn:
            case = store.get(txn, case_id)
            items = list(store.items(txn, case_id))
        facts = {"case": _some(MessageToDict(case), _CASE), "items": [_item(ledger, item) for item in items]}
        text = json.dumps(facts, ensure_ascii=False, indent=1).encode()
        yield Part(f"{case_id}/facts.json", text, "what was uploaded, when, and by whom", "application/json")
        for item in (one for one in items if one.verdict_id in share):
            opened = evidence.open(item) if evidence is not None else None
            if opened is None:
                missing.append(item.verdict_id)
                continue
            with opened[0] as file:
                name = f"{case_id}/media/{item.verdict_id}"
                yield Part(name, file, "as it was uploaded", item.media_type or "application/octet-stream")


def _item(ledger: Ledger, item: CaseItem) -> dict[str, Any]:
    facts = _some(MessageToDict(item), _ITEM)
    try:
        verdict = ledger.verdict(item.verdict_id).verdict
    except NotFound:
        return facts
    exact = [h for h in verdict.hashed if h.hash_type in REGISTRY and REGISTRY[h.hash_type].exact]
    facts["digests"] = {h.hash_type: h.fingerprint.value.hex() for h in exact if h.fingerprint.value}
    facts["bytes"] = verdict.media_bytes
    facts["matched"] = sorted({match.list for match in verdict.matches if not match.shadow})
    return facts


def _some(told: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: told[name] for name in names if name in told}
