"""A verdict in words: what was found, how near, in what, by which rule, what did not count, what was not searched."""

from __future__ import annotations

from collections.abc import Iterator

from hashmatch.v1 import common_pb2
from hashmatch.v1.audit_pb2 import Event, VerdictRecord
from hashmatch.v1.common_pb2 import Hashed, ListRevision, Match, SetAside
from hashmatch.v1.lists_pb2 import Policy

SHOWN_BYTES = 2  # of a fingerprint, unless asked for whole: enough to tell two apart, of no use to anybody else


def explain(event: Event, *, fingerprints: bool = False) -> Iterator[str]:
    """Lines for a person; fingerprints whole only where asked for."""
    v = event.verdict
    yield f"verdict {v.verdict_id}"
    yield f"  event        {event.sequence}, written {event.at.ToJsonString()}"
    yield f"  at           {v.at.ToJsonString()}"
    yield f"  request      {v.request_id or '(none)'}"
    yield f"  finding      {finding(v.finding)}"
    yield f"  disposition  {disposition(v.disposition)}"
    if v.HasField("retro"):
        yield f"  judged again {judged_again(v)}"
    yield from _subject(v)
    yield from _media(v)
    yield f"matches: {len(v.matches) or 'none'}"
    for match in v.matches:
        yield f"  {_match(match)}"
    if v.set_aside:
        yield f"set aside: {len(v.set_aside)}"
    for aside in v.set_aside:
        yield f"  {_set_aside(aside)}"
    yield f"fingerprints: {len(v.hashed)}"
    for hashed in v.hashed:
        yield f"  {_hashed(hashed, fingerprints)}"
    yield from _coverage(v)


def _subject(v: VerdictRecord) -> Iterator[str]:
    s = v.subject
    named = {"content": s.content_id, "uploader": s.uploader_id, "surface": s.surface, "region": s.region}
    if s.HasField("occurred_at"):
        named["occurred at"] = s.occurred_at.ToJsonString()
    parts = [f"{name} {value}" for name, value in (*named.items(), *sorted(s.attributes.items())) if value]
    if parts:
        yield f"  subject      {', '.join(parts)}"


def _media(v: VerdictRecord) -> Iterator[str]:
    if v.media_bytes:
        size = f"{v.width}×{v.height}" if v.width else "not decoded"
        frames = "" if v.frames <= 1 else f", {v.frames} frames"
        yield f"  media        {v.media_type or 'unknown type'}, {v.media_bytes} bytes, {size}{frames}"
    else:
        yield "  media        none: the caller sent fingerprints"


def judged_again(v: VerdictRecord) -> str:
    """When a verdict on media of the past was given, by which version, and when the first one was."""
    r = v.retro
    return f"at {v.at.ToJsonString()} by {r.list} version {r.version}; first at {r.first_judged_at.ToJsonString()}"


def _match(m: Match) -> str:
    shadow = " in shadow, so it asks for nothing" if m.shadow else ""
    held = "; held for matching many uploaders, so it asks for no more than REVIEW" if m.held else ""
    return f"{_entry(m)}; the list asks for {disposition(m.disposition)}{shadow}{held}"


def _set_aside(aside: SetAside) -> str:
    return f"{_entry(aside.match)}; {set_aside_reason(aside.reason)}: {aside.why}"


def _entry(m: Match) -> str:
    how = f"{m.hash_type} distance {m.distance} of at most {m.threshold}" if m.threshold else f"{m.hash_type} equal"
    label = f" '{m.label}'" if m.label else ""
    return f"{m.list}: entry {m.entry_id}{label}, {how}{_seen(m.variant, m.frame_ms)}"


def _hashed(h: Hashed, whole: bool) -> str:
    if h.unhashable:
        reason = common_pb2.UnhashableReason.Name(h.unhashable).removeprefix("UNHASHABLE_REASON_")
        return f"{h.hash_type}: none, {reason}"
    f = h.fingerprint
    shown = f.value.hex() if whole else f"{f.value[:SHOWN_BYTES].hex()}…"
    quality = f", quality {f.quality}" if f.HasField("quality") else ""
    return f"{h.hash_type}: {shown}{quality}{_seen(h.variant, h.frame_ms)}"


def _seen(variant: str, frame_ms: int) -> str:
    return (f", as {variant}" if variant else "") + (f", at {frame_ms} ms" if frame_ms else "")


def _coverage(v: VerdictRecord) -> Iterator[str]:
    c = v.coverage
    asked = f", of the lists asked for: {', '.join(v.asked_lists)}" if v.asked_lists else ""
    yield f"searched at revision {c.revision}{asked}"
    for hash_type, entries in sorted(c.entries.items()):
        yield f"  {hash_type}: {entries} entries"
    for state in c.lists:
        thresholds = ", ".join(f"{t} ≤ {bits}" for t, bits in sorted(state.thresholds.items()) if bits) or "equality"
        rules = "".join(f", {rule}" for rule in _rules(state, v.policies.get(state.list)))
        yield (
            f"  {state.list}: version {state.version} of revision {state.revision}, {state.entries} entries, "
            f"{thresholds}{rules}"
        )
    yield "versions"
    for name, version in sorted(c.versions.items()):
        yield f"  {name} {version}"


def _rules(state: ListRevision, policy: Policy | None) -> Iterator[str]:
    """How a list's matches counted for this item."""
    if state.benign:
        yield "known-benign: sets others aside"
    elif policy is not None:
        yield f"asks for {disposition(policy.disposition)}"
    if policy is not None and policy.shadow:
        yield "in shadow"
    if policy is not None and policy.variants:
        yield f"variants {', '.join(policy.variants)}"
    if policy is not None and policy.HasField("rollout_permille"):
        yield f"rolled out to {policy.rollout_permille} of 1000 items"
    if state.outside_rollout:
        yield "this item is outside its rollout"
    if state.out_of_scope:
        yield "not for this surface or region"


def finding(number: common_pb2.Finding.ValueType) -> str:
    """The finding's bare name, "MATCH"; the number where it is not known here."""
    known = number in common_pb2.Finding.values()
    return common_pb2.Finding.Name(number).removeprefix("FINDING_") if known else str(number)


def disposition(number: common_pb2.Disposition.ValueType) -> str:
    """The disposition's bare name, "BLOCK"; the number where it is not known here."""
    known = number in common_pb2.Disposition.values()
    return common_pb2.Disposition.Name(number).removeprefix("DISPOSITION_") if known else str(number)


def set_aside_reason(number: common_pb2.SetAsideReason.ValueType) -> str:
    """The reason's bare name, "SUPPRESSED"; the number where it is not known here."""
    known = number in common_pb2.SetAsideReason.values()
    return common_pb2.SetAsideReason.Name(number).removeprefix("SET_ASIDE_REASON_") if known else str(number)


def without_fingerprints(event: Event) -> Event:
    """A copy whose fingerprints end after SHOWN_BYTES, and whose question is not told either."""
    copy = Event()
    copy.CopyFrom(event)
    for hashed in copy.verdict.hashed:
        hashed.fingerprint.value = hashed.fingerprint.value[:SHOWN_BYTES]
    copy.verdict.ClearField("question_digest")
    return copy
