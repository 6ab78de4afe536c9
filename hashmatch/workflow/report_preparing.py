"""Everything that a report's next call needs, read before it begins; or why it cannot be made."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import BinaryIO, Final, Protocol

from hashmatch.audit.ledger import Ledger
from hashmatch.delivery.cybertip.client import CyberTipline
from hashmatch.delivery.cybertip.errors import failed
from hashmatch.delivery.cybertip.outcomes import Failed, Failure, Outcome
from hashmatch.delivery.cybertip.problems import MAX_BATCH_FILES
from hashmatch.delivery.cybertip.terms import Environment, ReportId
from hashmatch.errors import BadConfig, HashmatchError, NotFound
from hashmatch.store.env import Txn
from hashmatch.v1.cases_pb2 import Case, CaseItem, DispatchRecord
from hashmatch.v1.reports_pb2 import ReportRow
from hashmatch.workflow import outbox as sending
from hashmatch.workflow.case_store import CaseStore
from hashmatch.workflow.outbox import Outbox
from hashmatch.workflow.plan import UNDO
from hashmatch.workflow.report import Call, ReportRecord, State, Step, next_step
from hashmatch.workflow.report_batch_content import Part, batch_content
from hashmatch.workflow.report_content import Content, Reporter, content
from hashmatch.workflow.report_rows import calling, environment_of, is_batch, record_of, state_of, with_file
from hashmatch.workflow.report_store import ReportStore

EXACT: Final = frozenset({"md5", "sha1", "sha256", "sha512"})  # of the file's own bytes, whatever is in it
MAX_EARLIER: Final = 20  # cases of the same subject whose reports are named
MAX_PROBLEMS: Final = 10  # told at once

trace = logging.getLogger(__name__)


class Evidence(Protocol):
    """Where what was uploaded is kept."""

    def open(self, item: CaseItem) -> tuple[BinaryIO, int] | None:
        """An item's bytes as they were uploaded, to be closed, and how many; None: there are none.

        Raises:
            StoreFailed: they cannot be read now.
        """


@dataclass(frozen=True, slots=True)
class Ready:
    """One call, ready to be made; or, where `failed` is set, not to be made."""

    step: Step
    call: Callable[[], Outcome]
    failed: Failed | None = None
    problem: str = ""  # of that: where and what, never a value
    apart: str = ""  # a batch that cannot be told of as one: where and what
    attached: frozenset[str] | None = None  # SUBMIT: verdicts whose file goes with it
    viewed: tuple[bool, bool] | None = None  # DETAIL: what is told of views of the file, and of what it says of itself
    file: BinaryIO | None = None  # UPLOAD

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


class Preparing:
    """Reads what calls need. For any thread."""

    def __init__(
        self, ledger: Ledger, store: ReportStore, client_of: Callable[[Environment], CyberTipline],
        evidence: Evidence | None, reporter: Reporter, now: Callable[[], datetime], *, production: bool,
    ) -> None:  # fmt: skip
        self._ledger, self._store, self._cases = ledger, store, CaseStore(ledger.env, ledger.sealing)
        self._outbox = Outbox(ledger.env, ledger.sealing)
        self._client_of, self._evidence, self._reporter, self._now = client_of, evidence, reporter, now
        self._production = production

    def ready(self, row: ReportRow) -> Ready | None:
        """The next call of a report; None: there is none to be made now."""
        record = record_of(row)
        step = next_step(record, self._now())
        if calling(row) is not None or step.call in (Call.WAIT, Call.ASK_A_PERSON, Call.NOTHING):
            return None
        try:
            if record.environment is Environment.PRODUCTION and not self._production:
                raise BadConfig("environment: production is not switched on here")
            return self._ready(row, record, step, self._client_of(record.environment))
        except HashmatchError as e:
            return _not_to_be(step, failed(e), str(e))
        except Exception as e:  # of ours, or an adapter's: the report waits where a person sees it
            trace.exception("unforeseen error before a call to the CyberTipline")
            return _not_to_be(step, Failed(Failure.REFUSED), f"{step.call.value}: unforeseen: {type(e).__name__}")

    def _ready(self, row: ReportRow, record: ReportRecord, step: Step, client: CyberTipline) -> Ready:
        report_id = record.report_id
        if step.call is Call.SUBMIT:
            return self._submit(row, step, client)
        if report_id is None:
            raise NotFound("an open report has no number")
        match step.call:
            case Call.UPLOAD:
                return self._upload(row, report_id, step, client)
            case Call.DETAIL:
                return self._detail(row, record, report_id, step, client)
            case Call.FINISH:
                return Ready(step, lambda: client.finish(report_id))
            case _:
                return Ready(step, lambda: client.retract(report_id))

    def _submit(self, row: ReportRow, step: Step, client: CyberTipline) -> Ready:
        parts = self._about(row)
        attached = self._attached(row, _items(row, parts))
        told = self._content(row, parts, attached)
        if told.problems:
            more = len(told.problems) - MAX_PROBLEMS
            said = "; ".join(str(one) for one in told.problems[:MAX_PROBLEMS]) + (
                f"; and {more} more" if more > 0 else ""
            )
            # What is wrong with one of a batch is to hold up no other.
            return replace(_not_to_be(step, Failed(Failure.REFUSED), said), apart=said if is_batch(row) else "")
        return Ready(step, lambda: client.submit(told.report, told.files), attached=attached)

    def _attached(self, row: ReportRow, items: Sequence[CaseItem]) -> frozenset[str]:
        """Verdicts whose file goes with it: of a batch, the first that there is."""
        kept = (item.verdict_id for item in items if self._kept(item))
        return frozenset(islice(kept, MAX_BATCH_FILES if is_batch(row) else None))

    def _kept(self, item: CaseItem) -> bool:
        opened = self._evidence.open(item) if self._evidence is not None else None
        if opened is None:
            return False
        opened[0].close()
        return True

    def _upload(self, row: ReportRow, report_id: ReportId, step: Step, client: CyberTipline) -> Ready:
        wanted = with_file(row)[step.file or 0].verdict_id
        item = next(one for one in _items(row, self._about(row)) if one.verdict_id == wanted)
        opened = self._evidence.open(item) if self._evidence is not None else None
        if opened is None:
            # It was there when the report was opened: what was told of it is wrong now.
            return _not_to_be(step, Failed(Failure.LOST), "upload: the file is gone; begun again without it")
        file, size = opened
        return Ready(step, lambda: client.upload(report_id, file, size=size), file=file)

    def _detail(
        self, row: ReportRow, record: ReportRecord, report_id: ReportId, step: Step, client: CyberTipline
    ) -> Ready:
        number = step.file or 0
        attached = frozenset(one.verdict_id for one in with_file(row))
        details = self._content(row, self._about(row), attached).files[number]
        file_id = record.files[number].file_id or ""
        viewed = (details.file_viewed_by_esp, details.exif_viewed_by_esp)
        return Ready(step, lambda: client.detail(report_id, file_id, details), viewed=viewed)

    # ── what is read ────────────────────────────────────────────────────────────────────────────────────────────────

    def _about(self, row: ReportRow) -> list[Part]:
        """The case, and its items in the order of the row's; of a batch, those of each report in it.

        Raises:
            NotFound: one of them is not there.
        """
        with self._ledger.env.read() as txn:
            if not is_batch(row):
                return [self._part(txn, row)]
            return [self._part(txn, self._store.get(txn, one.report_id)) for one in row.files]

    def _part(self, txn: Txn, row: ReportRow) -> Part:
        case = self._cases.get(txn, row.case_id)
        found = {item.verdict_id: item for item in self._cases.items(txn, row.case_id)}
        if any(one.verdict_id not in found for one in row.files):
            raise NotFound("an item of the report is not in its case any more")
        return Part(case, [found[one.verdict_id] for one in row.files])

    def _content(self, row: ReportRow, parts: list[Part], attached: frozenset[str]) -> Content:
        if is_batch(row):
            file = next((item for item in _items(row, parts) if item.verdict_id in attached), None)
            return batch_content(
                parts, self._reporter, environment=environment_of(row), now=self._now(), file=file
            )  # fmt: skip
        case, items = parts[0].case, parts[0].items
        with self._ledger.env.read() as txn:
            prior = list(self._earlier(txn, row, case))
            suspended_at = suspended(self._outbox.of_case(txn, case.id))
        return content(
            case, items, self._reporter, environment=environment_of(row), now=self._now(), attached=attached,
            fingerprints={item.verdict_id: self._fingerprints(item.verdict_id) for item in items},
            prior=prior, omit=row.omitted, suspended_at=suspended_at,
        )  # fmt: skip

    def _earlier(self, txn: Txn, row: ReportRow, case: Case) -> Iterator[ReportId]:
        """Reports that were filed about the same subject, in the same environment."""
        environment = environment_of(row)
        for _ in range(MAX_EARLIER):
            for one in self._store.of_case(txn, case.id):
                if one.id != row.id and state_of(one) is State.FINISHED and environment_of(one) is environment:
                    yield ReportId(one.number, environment)
            if not case.prior_case_id:
                return
            case = self._cases.get(txn, case.prior_case_id)

    def _fingerprints(self, verdict_id: str) -> list[tuple[str, bytes]]:
        """Of the bytes as they were uploaded, from the log; none where they were erased from it."""
        try:
            verdict = self._ledger.verdict(verdict_id).verdict
        except NotFound:
            return []
        still = verdict.frames <= 1
        return [
            (one.hash_type, one.fingerprint.value)
            for one in verdict.hashed
            if one.fingerprint.value and not one.variant and not one.frame_ms and (still or one.hash_type in EXACT)
        ]


def suspended(sent: Iterable[DispatchRecord]) -> datetime | None:
    """When the platform confirmed that it had disabled an account, where it was not asked to undo that since."""
    at: datetime | None = None
    for one in sent:
        if one.verb == "suspend" and sending.state_of(one) is sending.State.CONFIRMED:
            at = one.done_at.ToDatetime(UTC)
        elif one.verb == UNDO["suspend"]:
            at = None
    return at


def _items(row: ReportRow, parts: Sequence[Part]) -> list[CaseItem]:
    """The items that a row names, in its order."""
    found = {item.verdict_id: item for part in parts for item in part.items}
    return [found[one.verdict_id] for one in row.files]


def _not_to_be(step: Step, failure: Failed, problem: str) -> Ready:
    def never() -> Outcome:
        return failure

    return Ready(step, never, failed=failure, problem=problem)
