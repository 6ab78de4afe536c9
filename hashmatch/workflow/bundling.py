"""Hands a case to an authority without an API: the bundle is written, and then the log says that it was.

Two persons stand behind it: who confirmed the case, and who writes the bundle. The receipt that the authority gives is
noted afterwards, as of any report that was filed elsewhere.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from hashmatch.audit.ledger import Ledger
from hashmatch.delivery.cybertip.terms import Environment
from hashmatch.errors import Conflict, Malformed, NotFound, Refused
from hashmatch.evidence import durable
from hashmatch.hashing.registry import REGISTRY
from hashmatch.v1.audit_pb2 import Event
from hashmatch.v1.cases_pb2 import DECISION_CONFIRM, Case, CaseItem
from hashmatch.workflow import bundle as bundles
from hashmatch.workflow.bundle_fields import About, Authority, Sender
from hashmatch.workflow.case_facts import cleared
from hashmatch.workflow.casework import Casework
from hashmatch.workflow.hold_table import DUTIES
from hashmatch.workflow.inputs import MAX_NAME, text
from hashmatch.workflow.inquiry import another
from hashmatch.workflow.report_preparing import MAX_EARLIER, Evidence
from hashmatch.workflow.report_record import State
from hashmatch.workflow.report_rows import environment_of, receipt_of, state_of
from hashmatch.workflow.report_settings import ReportSettings
from hashmatch.workflow.report_store import ReportStore


@dataclass(frozen=True, slots=True)
class Bundled:
    """A bundle that was written."""

    files: int
    manifest_sha256: bytes
    missing: tuple[str, ...]  # what a person must add before it is handed in
    without_media: tuple[str, ...]  # verdicts whose media nobody has


def sender_of(settings: ReportSettings | None, *, declared_by: str, company: str = "", email: str = "") -> Sender:
    """Who reports: as asked for, else as the workflow's file says.

    Raises:
        Malformed: nobody declares it, or neither says who reports.
    """
    known = settings.reporter if settings is not None else None
    company, email = company or (known.company if known else ""), email or (known.email if known else "")
    for name, given in (("company", company), ("email", email)):
        if not given:
            raise Malformed("must be given, or [reporting] in the workflow's file", field=name)
    return Sender(
        company=text(company, "company", MAX_NAME), email=text(email, "email", MAX_NAME),
        legal_email=known.legal_email if known else "", declared_by=text(declared_by, "declared_by", MAX_NAME),
    )  # fmt: skip


def authority_named(name: str) -> Authority:
    """The authority of a name.

    Raises:
        Malformed: there is no table of its fields.
    """
    if name not in [*Authority]:
        raise Malformed(f"want {', '.join(Authority)}", field="authority")
    return Authority(name)


def hand(
    ledger: Ledger, cases: Casework, evidence: Evidence | None, case_id: str, authority: Authority, *, sender: Sender,
    target: Path | BinaryIO, by: str, most: int | None = None,
) -> Bundled:  # fmt: skip
    """Writes the bundle of a confirmed case, and then to the log that it was: nobody has it before.

    Args:
        target: a file that is not there yet; or where the bundle is written, to be handed out once this returns.
        by: who makes it, another person than who confirmed the case.
        most: bytes of media; more is refused.
    Raises:
        NotFound: no such case.
        Refused: it is not confirmed, or only by the same person.
        Conflict: there is such a file.
        StoreFull, StoreFailed, Corrupt: there is none then.
    """
    if isinstance(target, Path):
        target = target.absolute()
        if target.exists():  # before media is unsealed; `_published` makes sure of it
            raise Conflict(f"{target} is there already")
    with ledger.env.read() as txn:
        case = cases.store.get(txn, case_id)
        items = list(reversed(list(cases.store.items(txn, case_id))))
        earlier = list(_earlier(ledger, cases, case))
    confirmed = _confirmed(case, by)
    if evidence is None and any(item.evidence and not item.HasField("destroyed_at") for item in items):
        raise Refused("evidence is kept in a vault that is not known here: name the workflow's file of the server")
    about = About(
        case=case, items=items, sender=sender, now=ledger.now(), earlier=earlier,
        digests={item.verdict_id: _digests(ledger, item) for item in items},
    )  # fmt: skip
    made, missing = bundles.bundle(about, authority), list[str]()
    # A file has its name once the log knows of it.
    opened = _published(target) if isinstance(target, Path) else nullcontext(target)
    with opened as file:
        digest, files = bundles.write(file, made, _media(evidence, items, missing, most))
        event = Event()
        said = event.disclosed
        said.manifest_digest, said.files = digest, files
        said.case_ids.append(case_id)
        said.by.extend((confirmed, by))
        with ledger.changing() as log:
            _confirmed(cases.store.get(log.txn, case_id), by)  # it may have been cleared meanwhile
            log.append(event)
    return Bundled(files, digest, made.missing, tuple(missing))


@contextmanager
def _published(target: Path) -> Iterator[BinaryIO]:
    """A new file to be written, whole at its name or not at all: half a bundle must never pass for one."""
    draft = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    with durable.translated(target):
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, target)
        except FileExistsError as e:
            raise Conflict(f"{target} is there already") from e
        finally:
            durable.remove(draft)
        durable.sync_directory(target.parent)


def _confirmed(case: Case, by: str) -> str:
    """Who confirmed a case, another than `by`."""
    if cleared(case) or not case.HasField("decided_at"):
        raise Refused("what is not confirmed is not reported")
    deciders = [review.by for review in case.reviews[case.reviews_before :] if review.decision == DECISION_CONFIRM]
    for one in reversed(deciders[:-1]):  # of two who confirmed, one is another than whoever asks
        if one != by:
            return one
    another(by, deciders[-1] if deciders else "")
    return deciders[-1] if deciders else ""


def _media(
    evidence: Evidence | None, items: list[CaseItem], missing: list[str], most: int | None
) -> Iterator[tuple[str, Callable[[], BinaryIO]]]:
    size = 0
    for item in items:
        opened = evidence.open(item) if evidence is not None else None
        if opened is None:
            missing.append(item.verdict_id)
            continue
        size += opened[1]
        if most is not None and size > most:
            opened[0].close()
            raise Refused(f"more than {most} bytes of media, which only `hashmatch reports bundle` writes")
        yield item.verdict_id, partial(_same, opened[0])


def _same(file: BinaryIO) -> BinaryIO:
    return file


def _digests(ledger: Ledger, item: CaseItem) -> dict[str, bytes]:
    try:
        verdict = ledger.verdict(item.verdict_id).verdict
    except NotFound:
        return {}
    exact = (h for h in verdict.hashed if h.hash_type in REGISTRY and REGISTRY[h.hash_type].exact)
    return {one.hash_type: one.fingerprint.value for one in exact if one.fingerprint.value}


def _earlier(ledger: Ledger, cases: Casework, case: Case) -> Iterator[str]:
    """References of reports about the same subject: those that were filed here, except to a test environment, and
    those that a person noted, which stand with the duty to keep that they began."""
    with ledger.env.read() as txn:
        for _ in range(MAX_EARLIER):
            filed = [row for row in ReportStore(ledger.env).of_case(txn, case.id) if state_of(row) is State.FINISHED]
            yield from (f"{r.authority} {r.number}" for r in filed if environment_of(r) is Environment.PRODUCTION)
            for hold in cases.store.holds(txn, case.id):
                ours = {case.id, *(receipt_of(row) for row in filed)}
                if hold.kind in DUTIES and hold.authority_reference not in ours:
                    yield f"{hold.jurisdiction} {hold.authority_reference}"
            if not case.prior_case_id:
                return
            case = cases.store.get(txn, case.prior_case_id)
