"""Everything that is wrong with a report and its files, before anybody is called. Pure.

One place judges: the types hold what they are given, so that a form can show all that is wrong with it at once, and
`now` can be told. What passes here also passes the schema. A path names an element as XPath does, counted from 1, and
never what it holds: `report/personOrUserReported[1]/ipCaptureEvent[2]/port`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from hashmatch.delivery.cybertip.element import Element, Part, Place, camel, parts
from hashmatch.delivery.cybertip.files import FileDetails
from hashmatch.delivery.cybertip.incidents import EmailIncident, NewsgroupIncident
from hashmatch.delivery.cybertip.people import Account
from hashmatch.delivery.cybertip.report import IntendedRecipient, PersonOrUserReported, Report, Victim
from hashmatch.delivery.cybertip.rules import Rule
from hashmatch.delivery.cybertip.terms import MAX_REPORT_ID, Environment, ReportId

MAX_REPEATS = 1000  # ours: of one element in one other; the service documents no limit
MAX_SUSPECTS = 1  # in a report that is not batched
MAX_BATCH_FILES = 1  # with more, such a report cannot be finished


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. Neither part holds a value of the report's."""

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


def problems(report: Report, files: Sequence[FileDetails], *, environment: Environment, now: datetime) -> list[Problem]:
    """What is wrong with a report and all that will be told of its files; empty where nothing is.

    Args:
        environment: the one that it goes to; ids of the other one mean nothing there.
        now: aware; every time must have been before it.
    """
    found = [*_within("report", report, environment, now), *_of_report(report)]
    for number, details in enumerate(files, start=1):
        found += _of_file(
            f"fileDetails[{number}]", details, environment, now, batched=report.batched_report is not None
        )
    if report.batched_report is not None and len(files) > MAX_BATCH_FILES:
        found.append(Problem("fileDetails", f"{len(files)} files, at most {MAX_BATCH_FILES} in a batched report"))
    return found


def file_problems(
    details: FileDetails, *, environment: Environment, now: datetime, batched: bool = False
) -> list[Problem]:
    """What is wrong with what is told of one file."""
    return list(_of_file("fileDetails", details, environment, now, batched=batched))


# ── each element by itself ──────────────────────────────────────────────────────────────────────────────────────────


def _within(path: str, element: Element, environment: Environment, now: datetime) -> Iterator[Problem]:
    for part in parts(type(element)):
        value = getattr(element, part.field)
        if part.place is Place.INLINE:
            yield from _within(path, value, environment, now)
        elif isinstance(value, tuple):
            if len(value) > MAX_REPEATS:
                yield Problem(f"{path}/{part.step}", f"{len(value)} of them, at most {MAX_REPEATS}")
            for number, one in enumerate(value, start=1):
                yield from _of_value(f"{path}/{part.step}[{number}]", part, one, environment, now)
        elif part.place is Place.CONTENT:
            yield from _of_value(path, part, value, environment, now)
        elif value is not None:
            yield from _of_value(f"{path}/{part.step}", part, value, environment, now)
    for below, what in element.conflicts():
        yield Problem(f"{path}/{below}" if below else path, what)


def _of_value(path: str, part: Part, value: object, environment: Environment, now: datetime) -> Iterator[Problem]:
    if isinstance(value, Element):
        below = f"{path}/{camel(type(value).__name__)}" if part.place is Place.WRAPPED else path
        yield from _within(below, value, environment, now)
    elif wrong := _wrong(part.rule, value, environment, now):
        yield Problem(path, wrong)


def _wrong(rule: Rule | None, value: object, environment: Environment, now: datetime) -> str:
    if rule is not None:
        return rule.problem(value, now)
    if isinstance(value, ReportId):
        if not 0 < value.number <= MAX_REPORT_ID:
            return "want the number of a report"
        if value.environment is not environment:
            return f"is a report of the {value.environment.value} environment"
        return ""
    return "" if isinstance(value, bool | Enum | frozenset) else "is of another type"


# ── rules between elements ──────────────────────────────────────────────────────────────────────────────────────────


def _of_report(report: Report) -> Iterator[Problem]:
    if not report.reporter.reporting_person.emails:
        yield Problem("report/reporter/reportingPerson/email", "must be given")
    suspects = len(report.persons_or_users_reported)
    if report.batched_report is not None:
        yield from _of_batch(report)
    elif suspects > MAX_SUSPECTS:
        yield Problem("report/personOrUserReported", f"{suspects} of them, at most {MAX_SUSPECTS} unless batched")
    everybody: tuple[PersonOrUserReported | IntendedRecipient | Victim, ...]
    everybody = (*report.persons_or_users_reported, *report.intended_recipients, *report.victims)
    theirs = {email.address for one in everybody if one.person is not None for email in one.person.emails}
    for number, incident in enumerate(report.internet_details, start=1):
        if isinstance(incident, EmailIncident | NewsgroupIncident):
            for place, email in enumerate(incident.email_addresses, start=1):
                if email.address not in theirs:
                    path = f"report/internetDetails[{number}]/{camel(type(incident).__name__)}/emailAddress[{place}]"
                    yield Problem(path, "must also be told with the suspect, a recipient or a victim")


def _of_batch(report: Report) -> Iterator[Problem]:
    """Reporting API, appendix E."""
    for name, given in (
        ("incidentSummary/escalateToHighPriority", report.incident_summary.escalate_to_high_priority is not None),
        ("internetDetails", report.internet_details),
        ("lawEnforcement", report.law_enforcement is not None),
        ("intendedRecipient", report.intended_recipients),
        ("victim", report.victims),
        ("additionalInfo", report.additional_info is not None),
    ):
        if given:
            yield Problem(f"report/{name}", "is not told in a batched report")
    for number, suspect in enumerate(report.persons_or_users_reported, start=1):
        known = suspect.account.esp_identifier
        if known is None or suspect != PersonOrUserReported(account=Account(esp_identifier=known)):
            yield Problem(f"report/personOrUserReported[{number}]", "holds espIdentifier and nothing else in a batch")


def _of_file(
    path: str, details: FileDetails, environment: Environment, now: datetime, *, batched: bool
) -> Iterator[Problem]:
    yield from _within(path, details, environment, now)
    for below, what in details.batch_conflicts() if batched else ():
        yield Problem(f"{path}/{below}", what)
