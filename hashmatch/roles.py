"""Who may do what: the roles, and the one permission that every RPC and every verb asks for. Nothing else is allowed.

A role is a named permission and implies no other: whoever should do two things has two roles, so that a list of roles
says everything. What is not in these tables is refused, and tests hold the tables against the service descriptors and
against the command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from hashmatch.errors import Malformed

ANONYMOUS = "anonymous"  # who shows nothing where that is allowed; the name of no key


class Role(StrEnum):
    """What a caller may be allowed; the docs print these lines."""

    UPLOADER = "uploader", "hands media in; is told finding and disposition"
    DETAIL = "detail", "sees distances and entries: of own verdicts, and in the lists"
    ANALYST = "analyst", "loads lists, adds and removes entries, proposes changes"
    APPROVER = "approver", "activates what another staged, approves what another proposed"
    REVIEWER = "reviewer", "works cases"
    LEAD = "lead", "assigns and reopens cases, approves what reviewers escalate"
    AUDITOR = "auditor", "reads the log and the lists' history; changes nothing"
    LE_LIAISON = "le-liaison", "answers law enforcement: preservation, holds, sealed exports"
    ADMIN = "admin", "makes lists and keys, runs the service; sees no case"

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Role:
        role = str.__new__(cls, value)
        role._value_, role.meaning = value, meaning
        return role


class Open(StrEnum):
    """For what wants no role."""

    ANYONE = "anyone", "no identity is asked for"
    CALLER = "caller", "any caller who is known"

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Open:
        permission = str.__new__(cls, value)
        permission._value_, permission.meaning = value, meaning
        return permission


Permission = Role | Open

_MATCH, _LISTS = "/hashmatch.v1.MatchService/", "/hashmatch.v1.ListService/"
_AUDIT, _CASES = "/hashmatch.v1.AuditService/", "/hashmatch.v1.CaseService/"

RPCS: Mapping[str, Permission] = {
    f"{_MATCH}Match": Role.UPLOADER,
    f"{_MATCH}MatchStream": Role.UPLOADER,
    f"{_MATCH}MatchUpload": Role.UPLOADER,
    f"{_MATCH}Hash": Role.UPLOADER,
    f"{_MATCH}GetCapabilities": Open.CALLER,
    f"{_LISTS}CreateList": Role.ADMIN,
    f"{_LISTS}GetList": Role.ANALYST,
    f"{_LISTS}ListLists": Role.ANALYST,
    f"{_LISTS}SetPolicy": Role.ANALYST,
    f"{_LISTS}ImportList": Role.ANALYST,
    f"{_LISTS}DiffList": Role.ANALYST,
    f"{_LISTS}ActivateList": Role.APPROVER,
    f"{_LISTS}RollBackList": Role.APPROVER,
    f"{_LISTS}AddEntry": Role.ANALYST,
    f"{_LISTS}RemoveEntry": Role.ANALYST,
    # An answer here holds listed fingerprints, or says whether one is listed: a rarer right than matching media.
    f"{_LISTS}LookUpEntry": Role.DETAIL,
    f"{_LISTS}ExportList": Role.DETAIL,
    f"{_LISTS}BrowseEntries": Role.DETAIL,
    f"{_LISTS}GetEntryHistory": Role.DETAIL,
    f"{_LISTS}GetImportReport": Role.ANALYST,
    f"{_LISTS}SuppressEntry": Role.ANALYST,
    f"{_LISTS}LiftSuppression": Role.ANALYST,
    f"{_LISTS}ListSuppressions": Role.ANALYST,
    f"{_LISTS}ReleaseEntry": Role.ANALYST,
    f"{_LISTS}PreflightList": Role.ANALYST,
    f"{_LISTS}RetroMatchList": Role.ANALYST,
    f"{_LISTS}ListProposals": Role.ANALYST,
    f"{_LISTS}ApproveProposal": Role.APPROVER,
    f"{_LISTS}WithdrawProposal": Role.ANALYST,
    f"{_AUDIT}ListEvents": Role.AUDITOR,
    f"{_AUDIT}GetCheckpoint": Role.AUDITOR,
    f"{_AUDIT}ProveInclusion": Role.AUDITOR,
    f"{_AUDIT}ProveConsistency": Role.AUDITOR,
    f"{_AUDIT}ExportLog": Role.AUDITOR,
    f"{_AUDIT}ReplayVerdict": Role.AUDITOR,
    f"{_CASES}ListCases": Role.REVIEWER,
    f"{_CASES}GetCase": Role.REVIEWER,
    f"{_CASES}ClaimCase": Role.REVIEWER,
    f"{_CASES}UnclaimCase": Role.REVIEWER,
    # Deciding what was escalated asks for "lead" besides.
    f"{_CASES}DecideCase": Role.REVIEWER,
    f"{_CASES}EscalateCase": Role.REVIEWER,
    f"{_CASES}ReopenCase": Role.LEAD,
    f"{_CASES}RecordReport": Role.LEAD,
    f"{_CASES}HoldCase": Role.LE_LIAISON,
    f"{_CASES}ReleaseHold": Role.LE_LIAISON,
    f"{_CASES}ListDispatches": Role.LEAD,
    f"{_CASES}RetryDispatch": Role.LEAD,
    f"{_CASES}AcceptDispatch": Role.LEAD,
    f"{_CASES}AskGrant": Role.REVIEWER,
    f"{_CASES}ApproveGrant": Role.LEAD,
    f"{_CASES}ViewEvidence": Role.REVIEWER,
    f"{_CASES}ListGrants": Role.LEAD,
    f"{_CASES}DestroyEvidence": Role.LE_LIAISON,
    f"{_CASES}ListDueEvidence": Role.LE_LIAISON,
    f"{_CASES}ListOrphans": Role.ADMIN,
    f"{_CASES}DestroyOrphans": Role.ADMIN,
    # What a user tells is brought by who uploads or reviews; what an agency asks, by the liaison alone.
    f"{_CASES}OpenInquiry": Open.CALLER,
    f"{_CASES}ListInquiries": Role.LE_LIAISON,
    f"{_CASES}StepInquiry": Role.LE_LIAISON,
    f"{_CASES}ListReports": Role.LEAD,
    f"{_CASES}ResumeReport": Role.LEAD,
    f"{_CASES}WithdrawReport": Role.LEAD,
    f"{_CASES}BundleReport": Role.LEAD,
    f"{_CASES}RenewHold": Role.LE_LIAISON,
    f"{_CASES}DiscloseInquiry": Role.LE_LIAISON,
    f"{_CASES}GetKpis": Role.LEAD,
    f"{_CASES}ListPages": Role.REVIEWER,
    f"{_CASES}AcknowledgePage": Role.REVIEWER,
    f"{_CASES}RaiseDrill": Role.LEAD,
    f"{_CASES}HandOver": Role.REVIEWER,
    f"{_CASES}ListBlindReviews": Role.REVIEWER,
    f"{_CASES}ReviewBlind": Role.REVIEWER,
    # What a policy names who only uploads is not told: any other role will do.
    f"{_CASES}GetPolicy": Open.CALLER,
    f"{_CASES}ListPolicies": Open.CALLER,
    f"{_CASES}CheckPolicy": Role.ANALYST,
    f"{_CASES}ExplainVerdict": Role.AUDITOR,
    f"{_CASES}ProposePolicy": Role.ANALYST,
    f"{_CASES}ApprovePolicy": Role.APPROVER,
    f"{_CASES}WithdrawPolicy": Role.ANALYST,
    # The platform says this, with the key that it uploads with.
    f"{_CASES}ConfirmDispatch": Role.UPLOADER,
    # A load balancer asks these, and learns nothing but whether to send traffic.
    "/grpc.health.v1.Health/Check": Open.ANYONE,
    "/grpc.health.v1.Health/List": Open.ANYONE,
    "/grpc.health.v1.Health/Watch": Open.ANYONE,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Open.CALLER,
}
"""Of every RPC, by its full name."""

VERBS: Mapping[str, Permission] = {
    "serve": Role.ADMIN,
    "match": Role.UPLOADER,
    "hash": Open.ANYONE,
    "lists create": Role.ADMIN,
    "lists show": Role.ANALYST,
    "lists import": Role.ANALYST,
    "lists diff": Role.ANALYST,
    "lists activate": Role.APPROVER,
    "lists rollback": Role.APPROVER,
    "lists add": Role.ANALYST,
    "lists remove": Role.ANALYST,
    "lists lookup": Role.DETAIL,
    "lists export": Role.DETAIL,
    "lists policy": Role.ANALYST,
    "lists browse": Role.DETAIL,
    "lists history": Role.DETAIL,
    "lists report": Role.ANALYST,
    "lists suppress": Role.ANALYST,
    "lists unsuppress": Role.ANALYST,
    "lists suppressions": Role.ANALYST,
    "lists release": Role.ANALYST,
    "lists preflight": Role.ANALYST,
    "lists retro": Role.ANALYST,
    "lists feedback": Role.ANALYST,
    "lists proposals": Role.ANALYST,
    "lists approve": Role.APPROVER,
    "lists withdraw": Role.ANALYST,
    "log tail": Role.AUDITOR,
    "log show": Role.AUDITOR,
    "log counts": Role.AUDITOR,
    "log export": Role.AUDITOR,
    "log query": Role.AUDITOR,
    "log summary": Role.AUDITOR,
    "log checkpoint": Role.AUDITOR,
    "log prove": Role.AUDITOR,
    "log replay": Role.AUDITOR,
    # Offline, with nothing but files: whoever has them may.
    "log verify": Open.ANYONE,
    "log rotate-key": Role.ADMIN,
    "log erase": Role.ADMIN,
    "cases list": Role.REVIEWER,
    "cases show": Role.REVIEWER,
    "cases claim": Role.REVIEWER,
    "cases unclaim": Role.REVIEWER,
    "cases decide": Role.REVIEWER,
    "cases escalate": Role.REVIEWER,
    "cases reopen": Role.LEAD,
    "cases report": Role.LEAD,
    "cases second-looks": Role.REVIEWER,
    "cases second-look": Role.REVIEWER,
    "cases hold": Role.LE_LIAISON,
    "cases release": Role.LE_LIAISON,
    "inquiries open": Role.LE_LIAISON,
    "inquiries list": Role.LE_LIAISON,
    "inquiries show": Role.LE_LIAISON,
    "inquiries verify": Role.LE_LIAISON,
    "inquiries approve": Role.LE_LIAISON,
    "inquiries fulfil": Role.LE_LIAISON,
    "inquiries refuse": Role.LE_LIAISON,
    "inquiries disclose": Role.LE_LIAISON,
    "pages list": Role.REVIEWER,
    "pages take": Role.REVIEWER,
    "pages drill": Role.LEAD,
    "pages handover": Role.REVIEWER,
    "pages rota": Role.REVIEWER,
    "evidence view": Role.REVIEWER,
    "evidence grant": Role.REVIEWER,
    "evidence approve": Role.LEAD,
    "evidence grants": Role.LEAD,
    "evidence destroy": Role.LE_LIAISON,
    "evidence due": Role.LE_LIAISON,
    "evidence check": Role.ADMIN,
    "evidence orphans": Role.ADMIN,
    "evidence master": Role.ADMIN,
    "evidence rotate": Role.ADMIN,
    "holds list": Role.LE_LIAISON,
    "holds place": Role.LE_LIAISON,
    "holds renew": Role.LE_LIAISON,
    "holds release": Role.LE_LIAISON,
    "reports bundle": Role.LEAD,
    "reports list": Role.LEAD,
    "reports show": Role.LEAD,
    "reports resume": Role.LEAD,
    "reports withdraw": Role.LEAD,
    "simulate cybertipline": Open.ANYONE,
    "kpi": Role.LEAD,
    "policy show": Open.ANYONE,
    "policy list": Open.ANYONE,
    "policy check": Open.ANYONE,
    "policy propose": Role.ANALYST,
    "policy approve": Role.APPROVER,
    "policy withdraw": Role.ANALYST,
    "policy explain": Role.AUDITOR,
    "outbox secret": Open.ANYONE,
    "outbox list": Role.LEAD,
    "outbox retry": Role.LEAD,
    "outbox accept": Role.LEAD,
    "outbox confirm": Role.LEAD,
    "keys create": Role.ADMIN,
    "keys list": Role.ADMIN,
    "keys revoke": Role.ADMIN,
    "status": Open.ANYONE,
    "backup": Role.ADMIN,
    "check": Role.ADMIN,
}
"""Of every verb of the command line. There they bind only where the settings name accounts: whoever may write the
state directory could go round them."""


def roles_from(names: Iterable[str], field: str) -> frozenset[Role]:
    """The roles of these names.

    Raises:
        Malformed: names `field` and the roles there are.
    """
    known = {role.value: role for role in Role}
    found = set()
    for name in names:
        if name not in known:
            raise Malformed(f"unknown role '{name[:32]}'; known: {', '.join(known)}", field=field)
        found.add(known[name])
    return frozenset(found)


def permits(permission: Permission | None, roles: frozenset[Role], *, known: bool) -> bool:
    """Whether a caller with these roles, `known` or not, may do what asks for `permission`; None is what no table
    names."""
    if permission is Open.ANYONE:
        return True
    if permission is Open.CALLER:
        return known
    return known and permission in roles
