"""What `hashmatch lists` prints and writes: tables for people, plain JSON for programs."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from hashmatch import convert
from hashmatch.cli import format
from hashmatch.errors import StoreFailed
from hashmatch.store.env import sync_directory
from hashmatch.v1 import common_pb2, lists_pb2


def as_dict(message: Message) -> dict[str, Any]:
    """A message as plain JSON: fingerprints in hexadecimal, times in ISO 8601, enums by their short name."""
    return {
        field.name: _plain(getattr(message, field.name), field)
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def _plain(value: Any, field: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict(value)
    if field.is_repeated:
        return [_single(one, field) for one in value]
    return _single(value, field)


def _single(value: Any, field: Any) -> Any:
    if isinstance(value, Timestamp):
        return convert.moment(value).isoformat()
    if isinstance(value, Message):
        return as_dict(value)
    if isinstance(value, bytes):
        return value.hex()
    if field.enum_type is not None:
        return _short(field.enum_type.values_by_number[value].name)
    return value


def _short(enum_name: str) -> str:
    return enum_name.rpartition("_")[2].lower()


def show_lists(found: lists_pb2.ListListsResponse, as_json: bool) -> None:
    """Every list on one line."""
    if as_json:
        for one in found.lists:
            format.emit(as_dict(one))
        return
    rows = [
        (one.name, one.active_version or "nothing", _entries(_active(one)), _policy(one.policy), one.operator)
        for one in found.lists
    ]
    format.table(rows, ("list", "active", "entries", "policy", "operator"))
    print(f"revision {found.revision}")


def show_list(one: lists_pb2.HashList, as_json: bool) -> None:
    """One list with its versions."""
    if as_json:
        format.emit(as_dict(one))
        return
    print(f"{one.name}: {_policy(one.policy)}; revision {one.revision}")
    for name, text in (("operator", one.operator), ("purpose", one.purpose)):
        if text:
            print(f"{name}: {format.plain(text)}")
    rows = [
        (
            version.version,
            _short(lists_pb2.VersionState.Name(version.state)),
            _entries(version),
            convert.moment(version.created_at).isoformat(sep=" ", timespec="seconds"),
            version.created_by,
            ": ".join(text for text in (version.origin, version.reason) if text),
        )
        for version in one.versions
    ]
    if rows:
        format.table(rows, ("version", "state", "entries", "made at (UTC)", "by", "from"))


def _active(one: lists_pb2.HashList) -> lists_pb2.ListVersion | None:
    return next((v for v in one.versions if v.version == one.active_version), None)


def _entries(version: lists_pb2.ListVersion | None) -> str:
    counts = [f"{count} {hash_type}" for hash_type, count in sorted(version.entries.items())] if version else []
    return ", ".join(counts) or "none"


def _policy(policy: lists_pb2.Policy) -> str:
    parts = [_short(common_pb2.Disposition.Name(policy.disposition)), *(["shadow"] if policy.shadow else [])]
    if policy.benign:
        parts = ["known benign"]
    if policy.trust:
        parts.append(lists_pb2.TrustTier.Name(policy.trust).removeprefix("TRUST_TIER_").lower().replace("_", "-"))
    parts += [f"{hash_type} within {bits}" for hash_type, bits in sorted(policy.thresholds.items())]
    parts += policy.variants
    if policy.HasField("rollout_permille"):
        parts.append(f"for {policy.rollout_permille / 10:g} %")
    parts += [f"on {', '.join(policy.surfaces)}"] * bool(policy.surfaces)
    parts += [f"in {', '.join(policy.regions)}"] * bool(policy.regions)
    parts += ["two persons"] * policy.two_person
    return ", ".join(parts)


def show_import(done: lists_pb2.ImportListResponse, header: lists_pb2.ImportHeader, as_json: bool) -> None:
    """What became of a file, its first rejects by line."""
    if as_json:
        format.emit(as_dict(done))
        return
    if done.rejects:
        format.table([(reject.line, reject.why) for reject in done.rejects], ("line", "rejected because"))
    if done.rejected > len(done.rejects):
        print(f"… and {done.rejected - len(done.rejects)} more")
    counts = ("lines", "accepted", "duplicates", "rejected", "poison", "skipped", "held_back")
    format.table([[getattr(done, count) for count in counts]], [count.replace("_", " ") for count in counts])
    changes = ("added", "removed", "changed", "unchanged")
    format.table([[getattr(done.diff, change) for change in changes]], changes)
    if done.near_duplicates_sampled:
        sampled = f"{done.near_duplicates} of {done.near_duplicates_sampled} sampled entries"
        print(f"{sampled} have a near-duplicate in the file")
    if done.benign_conflicts:
        shown = ", ".join(done.benign_conflict_ids[:3])
        print(f"{done.benign_conflicts} entries contradict another list, benign against known abuse: {shown} …")
    print(_outcome(done, header))


def _outcome(done: lists_pb2.ImportListResponse, header: lists_pb2.ImportHeader) -> str:
    if header.dry_run:
        return "dry run: nothing was kept"
    if not done.accepted:
        return "nothing was accepted, so nothing was staged"
    if done.activated:
        return f"version {done.version} is active; revision {done.revision}"
    staged = f"version {done.version} is staged: hashmatch lists activate {header.name} {done.version}"
    if done.refusal:
        return f"{staged} --allow-rejects\n{done.refusal}"
    why = "because lines were rejected (--allow-rejects)" if done.rejected else "since another person has to"
    return f"{staged}\nnot activated, {why}" if header.activate else staged


def show_edit(name: str, done: lists_pb2.AddEntryResponse | lists_pb2.RemoveEntryResponse, as_json: bool) -> None:
    """What became of one entry."""
    if as_json:
        format.emit({"list": name, **as_dict(done.entry), "revision": done.revision, "staged": done.staged_version})
        return
    show_entries([lists_pb2.ListedEntry(list=name, entry=done.entry)], done.revision, as_json)
    if done.staged_version:
        print(f"staged, since another person has to: hashmatch lists activate {name} {done.staged_version}")


def show_entries(found: Sequence[lists_pb2.ListedEntry], revision: int, as_json: bool) -> None:
    """Entries by their ids, without their fingerprints: a terminal is no place for them."""
    if as_json:
        for one in found:
            format.emit({"list": one.list, **as_dict(one.entry), "distance": one.distance, "revision": revision})
        return
    rows = [
        (
            one.list,
            one.entry.entry_id,
            one.entry.fingerprint.hash_type,
            one.distance,
            one.entry.label,
            one.entry.source_id,
            one.entry.added_by,
            one.entry.reason,
        )
        for one in found
    ]
    if rows:
        format.table(rows, ("list", "entry", "hash type", "distance", "label", "source id", "added by", "reason"))
    else:
        print("in no list")
    print(f"revision {revision}")


def show_reach(found: lists_pb2.PreflightListResponse, as_json: bool) -> None:
    """What a version would have matched, beside what the active one does."""
    if as_json:
        format.emit(as_dict(found))
        return
    if not found.items:
        print("no traffic was sampled yet")
        return
    oldest, newest = (
        convert.moment(at).isoformat(sep=" ", timespec="minutes")[:16] for at in (found.oldest, found.newest)
    )
    print(f"version {found.version} against {found.items} sampled items, judged {oldest} to {newest} (UTC)")
    rows = [
        (
            name,
            reach.items,
            reach.uploaders,
            ", ".join(f"{s or '(none)'} {n}" for s, n in sorted(reach.surfaces.items())),
        )
        for name, reach in (("would match", found.would), ("matches already", found.already))
    ]
    format.table(rows, ("", "items", "uploaders", "by surface"))
    if found.entries:
        format.table(
            [(e.entry_id, e.label, e.hash_type, e.items, e.uploaders, e.nearest) for e in found.entries],
            ("entry", "label", "hash type", "items", "uploaders", "nearest"),
        )


def write_file(path: Path, lines: Iterable[str]) -> None:
    """Publishes a file whole, for its owner's eyes: what it holds is victims' data.

    Raises:
        StoreFailed: it could not be written; nothing of it is there.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        sync_directory(path.absolute().parent)
    except OSError as e:
        raise StoreFailed(f"cannot write {path}: {e.strerror}") from e
    finally:
        draft.unlink(missing_ok=True)
