"""An event in one line, for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hashmatch.audit import explain
from hashmatch.v1 import audit_pb2
from hashmatch.v1.audit_pb2 import Event, VerdictRecord


def brief(event: Event) -> str:
    """What an event says, in one line; nothing personal, no fingerprint."""
    fact = event.WhichOneof("fact")
    # Reasons are free text, and may be of several lines.
    return " ".join(_BRIEF[fact](getattr(event, fact)).splitlines()) if fact else "an event of a later version"


def actor(event: Event) -> str:
    """Who did it; "" where no person did."""
    fact = event.WhichOneof("fact")
    by = getattr(getattr(event, fact), "by", "") if fact else ""
    return by if isinstance(by, str) else ", ".join(by)


def actors(event: Event) -> tuple[str, ...]:
    """Everybody who did it or agreed to it, apart."""
    fact = event.WhichOneof("fact")
    told = getattr(event, fact) if fact else event
    by = getattr(told, "by", "")
    people = (*((by,) if isinstance(by, str) else by), getattr(told, "approver", ""))
    return tuple(person for person in people if person)


def _verdict(v: VerdictRecord) -> str:
    why = _nearest(v) + (" (judged again)" if v.HasField("retro") else "")
    return f"{explain.finding(v.finding):<8}  {explain.disposition(v.disposition):<8}  {v.verdict_id}  {why}"


def _nearest(verdict: VerdictRecord) -> str:
    """The nearest match, or what was set aside where none counts."""
    if verdict.matches:
        match, told = verdict.matches[0], ", held" if verdict.matches[0].held else ""
    elif verdict.set_aside:
        aside = verdict.set_aside[0]
        match, told = aside.match, f", set aside: {explain.set_aside_reason(aside.reason)}"
    else:
        return ""
    return f"{match.list} {match.hash_type} distance {match.distance}{told}"


def _list_changed(c: audit_pb2.ListChanged) -> str:
    kind = _kind(audit_pb2.ListChangeKind, c.kind, "LIST_CHANGE_KIND_")
    which = f" {c.entry_id}" if c.entry_id else ""
    version = f", version {c.version}" if c.version else ""
    agreed = f" and {c.approver}" if c.approver else ""
    return f"list {c.list}: {kind}{which}{version}, revision {c.revision}, by {c.by}{agreed}"


def _counted(c: audit_pb2.Counted) -> str:
    scanned = sum(one.count for one in c.counts if one.finding)
    missed = sum(one.count for one in c.counts if not one.finding)
    return f"{scanned + missed} submissions seen, {scanned} scanned, {missed} not"


def _gap(g: audit_pb2.Gap) -> str:
    kind = _kind(audit_pb2.GapKind, g.kind, "GAP_KIND_")
    return f"gap: {kind}{f' of run {g.run}' if g.run else ''}"


def _kind(names: Any, number: int, prefix: str) -> str:
    """A kind in words; the number where it is not known here."""
    known = number in names.values()
    return names.Name(number).removeprefix(prefix).lower().replace("_", " ") if known else str(number)


def _credential(c: audit_pb2.CredentialChanged) -> str:
    return f"key {c.credential_id} of {c.name} {'revoked' if c.revoked else 'made'} by {c.by}: {', '.join(c.roles)}"


_POLICY: Mapping[str, str] = {"": "follows", "PROPOSED": "is proposed beside", "WITHDRAWN": "is withdrawn beside"}

_BRIEF: Mapping[str, Callable[[Any], str]] = {
    "verdict": _verdict,
    "list_changed": _list_changed,
    "counted": _counted,
    "started": lambda s: f"run {s.run} started: hashmatch {s.versions.get('hashmatch', '')}, revision {s.revision}",
    "stopped": lambda s: f"run {s.run} stopped",
    "gap": _gap,
    "credential_changed": _credential,
    "log_key_changed": lambda k: f"the log's key changed by {k.by}: {k.reason}",
    "log_read": lambda r: f"log read by {r.by}: {r.how} {r.filter}".rstrip(),
    "entry_held": lambda h: f"entry {h.entry_id} of {h.list} is held: {h.uploaders} uploaders within an hour",
    "entry_released": lambda r: f"entry {r.entry_id} of {r.list} released by {r.by}: {r.reason}",
    "erased": lambda e: f"{len(e.key_ids)} keys of sealed fields destroyed by {e.by}: {e.ground}",
    "case_step": lambda s: f"case {s.case_id}: {s.step}, now {s.state}, by {s.by}",
    "granted": lambda g: f"case {g.case_id}: {g.to} may see it {g.level}, by {', '.join(g.by)}",
    "revealed": lambda r: f"case {r.case_id}: seen {r.level} for {r.seconds} s by {r.by}",
    "delivered": lambda d: f"case {d.case_id}: {d.verb} to {d.destination}, attempt {d.attempt}: {d.outcome}",
    "reported": lambda r: f"case {r.case_id}: report {r.report_id} to {r.authority}: {r.state} {r.receipt}".rstrip(),
    "hold_changed": lambda h: f"case {h.case_id}: {h.kind} {'released' if h.released else 'begun'}",
    "list_exported": lambda e: f"list {e.list} exported by {e.by}, {e.how}",
    "policy_changed": lambda p: (
        f"policy {p.version[:12]} {_POLICY.get(p.step, p.step)} {p.previous[:12]}, by {p.by}: {p.reason}"
    ),
    "evidence_kept": lambda e: f"case {e.case_id}: evidence of {e.verdict_id} sealed, {e.size} bytes",
    "inquiry_step": lambda i: f"inquiry {i.inquiry_id} ({i.kind}): {i.step}, now {i.state}, by {i.by}",
    "paged": lambda p: f"page {p.page_id} (T{p.tier}, case {p.case_id}): {p.step} {p.by}".rstrip(),
    "disclosed": lambda d: f"inquiry {d.inquiry_id}: {d.files} files disclosed by {' and '.join(d.by)}",
    "destroyed": lambda d: f"{f'case {d.case_id}' if d.case_id else 'no case'}: evidence destroyed: {d.ground}",
}
