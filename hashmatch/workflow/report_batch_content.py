"""What a batched report says: who uploaded one viral thing, by the platform's ids, and its file. Pure.

Reporting API, appendix E: of each uploader only the id, of the incident only what it is and when it began; and of one
file whether somebody looked at it, and that it is viral or a meme.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hashmatch.delivery.cybertip import report as cybertip
from hashmatch.delivery.cybertip.files import FileDetails
from hashmatch.delivery.cybertip.people import Account
from hashmatch.delivery.cybertip.problems import Problem, problems
from hashmatch.delivery.cybertip.report import BatchedReport, IncidentSummary, PersonOrUserReported, incident_time
from hashmatch.delivery.cybertip.terms import Environment, FileAnnotation
from hashmatch.v1.cases_pb2 import Case, CaseItem
from hashmatch.workflow.report_attributes import Attributes
from hashmatch.workflow.report_batch import marks
from hashmatch.workflow.report_content import Content, Reporter, occurred, once, told_by, uploader
from hashmatch.workflow.report_labels import classification, plain


@dataclass(frozen=True, slots=True)
class Part:
    """One case, and the items of it that are reported, the oldest first."""

    case: Case
    items: Sequence[CaseItem]


def batch_content(
    parts: Sequence[Part], reporter: Reporter, *, environment: Environment, now: datetime, file: CaseItem | None
) -> Content:
    """What a batched report says of these cases.

    Args:
        now: aware.
        file: the item whose file goes with it; None: there is none, and then it must not be sent.
    """
    found: list[Problem] = []
    times = sorted(occurred(item) for part in parts for item in part.items)
    said = frozenset[FileAnnotation]().union(*(marks(part.case, item) for part in parts for item in part.items))
    report = cybertip.Report(
        batched_report=BatchedReport(),
        incident_summary=IncidentSummary(
            incident_type=reporter.incident,
            platform=reporter.company,
            incident_date_time=incident_time(times[0] if times else now, now),
            incident_date_time_description=f"When the first of {len(times)} was uploaded" if len(times) > 1 else None,
        ),
        reporter=told_by(reporter),
        persons_or_users_reported=once(_suspect(part) for part in parts),
    )
    files = () if file is None else (_file(file, said, reporter, now, found),)
    if file is None:
        found.append(Problem("fileDetails", "without a file a batched report says nothing of what was uploaded"))
    found += problems(report, files, environment=environment, now=now)
    return Content(report, files, tuple(found))


def _suspect(part: Part) -> PersonOrUserReported:
    """One uploader of two cases is told of once."""
    return PersonOrUserReported(account=Account(esp_identifier=uploader(part.case, part.items) or None))


def _file(
    item: CaseItem, said: frozenset[FileAnnotation], reporter: Reporter, now: datetime, found: list[Problem]
) -> FileDetails:
    return FileDetails(
        uploaded_to_esp_timestamp=incident_time(occurred(item), now),
        file_viewed_by_esp=bool(item.viewed_by),
        exif_viewed_by_esp=False,  # no view of ours shows what a file says about itself
        publicly_available=Attributes(item.subject.attributes, (), found).flag("publicly_available"),
        file_annotations=said,
        industry_classification=classification(plain(item.labels)) if reporter.hash_sharing else None,
    )
