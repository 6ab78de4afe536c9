"""What the verbs of `hashmatch lists` do for an analyst. On the state directory itself; a running server follows."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from hashmatch.cli import format, lists_approvals, log_opening
from hashmatch.cli.accounts import by
from hashmatch.cli.amounts import moment, permille
from hashmatch.cli.lists_output import (
    as_dict,
    show_edit,
    show_entries,
    show_import,
    show_list,
    show_lists,
    write_file,
)
from hashmatch.errors import Malformed
from hashmatch.index.recipe import load_recipes
from hashmatch.lists import guards
from hashmatch.lists.entry_ids import ID_CHARS
from hashmatch.lists.formats import csv, hex
from hashmatch.lists.ingest import DEFAULT_HASH_TYPE
from hashmatch.lists.keeper import ListKeeper
from hashmatch.lists.reader import ListReader
from hashmatch.store.lists import ListStore
from hashmatch.types import Disposition, Fingerprint
from hashmatch.v1 import common_pb2, lists_pb2

FORMATS = {
    name.removeprefix("IMPORT_FORMAT_").lower().replace("_", "-"): number
    for name, number in lists_pb2.ImportFormat.items()
    if number
}
WRITTEN = ("hex", "csv")
DISPOSITIONS = {d.name.lower(): common_pb2.Disposition.ValueType(int(d)) for d in Disposition}
TRUST = {
    name.removeprefix("TRUST_TIER_").lower().replace("_", "-"): number
    for name, number in lists_pb2.TrustTier.items()
    if number
}
_BAD_DATA = 65  # sysexits.h EX_DATAERR
_MAX_GIVEN = 1024  # characters of a fingerprint on standard input; the longest has 128


@contextlib.contextmanager
def reader(args: argparse.Namespace) -> Iterator[ListReader]:
    store = ListStore(args.state, readonly=True)
    try:
        yield ListReader(store, load_recipes(args.settings.recipes))
    finally:
        store.close()


@contextlib.contextmanager
def keeper(args: argparse.Namespace) -> Iterator[ListKeeper]:
    store = ListStore(args.state)
    try:
        yield ListKeeper(store, load_recipes(args.settings.recipes))
    finally:
        store.close()


def show(args: argparse.Namespace) -> int:
    with reader(args) as lists:
        if args.list:
            show_list(lists.get(args.list), args.json)
        else:
            show_lists(lists.all(), args.json)
    return 0


def import_(args: argparse.Namespace) -> int:
    with _opened(args.file) as (file, size), keeper(args) as lists:
        header = _header(args, size)
        with format.phases() as progress:
            done = lists.stage(header, file, by=by(), allow_rejects=args.allow_rejects, progress=progress)
    show_import(done, header, args.json)
    return _BAD_DATA if not done.accepted or (args.activate and not args.dry_run and not done.activated) else 0


def _header(args: argparse.Namespace, size: int | None) -> lists_pb2.ImportHeader:
    header = lists_pb2.ImportHeader(
        name=args.list,
        format=FORMATS[args.format],
        columns=dict(pairs(args.map, "--map", "COLUMN=FIELD")),
        labels=dict(pairs(args.label, "--label", "THEIRS=OURS", empty=True)),
        hash_type=args.type,
        delimiter=args.delimiter,
        encoding=args.encoding,
        source=args.source,
        opaque=args.opaque,
        dry_run=args.dry_run,
        activate=args.activate,
        merge=args.merge,
        origin="standard input" if args.file == "-" else Path(args.file).name,
        bytes=size or 0,
    )
    if args.max_rejected is not None:
        header.max_rejected_permille = permille(args.max_rejected, "--max-rejected")
    return header


@contextlib.contextmanager
def _opened(name: str) -> Iterator[tuple[BinaryIO, int | None]]:
    if name == "-":
        yield sys.stdin.buffer, None
        return
    try:
        file = open(name, "rb")  # noqa: SIM115 - closed below; the caller's own errors are not about opening
    except OSError as e:
        raise Malformed(f"cannot read {name}: {e.strerror}") from e
    with file:
        yield file, os.fstat(file.fileno()).st_size


def diff(args: argparse.Namespace) -> int:
    with reader(args) as lists:
        found = lists.diff(args.list, args.from_version, args.to_version)
    if args.json:
        format.emit(as_dict(found))
    else:
        d = found.diff
        format.table(
            [(found.from_version or "nothing", found.to_version, d.added, d.removed, d.changed, d.unchanged)],
            ("from", "to", "added", "removed", "changed", "unchanged"),
        )
    return 0


def activate(args: argparse.Namespace) -> int:
    with keeper(args) as lists:
        done = lists.activate(args.list, args.version, reason=args.reason, allow_rejects=args.allow_rejects, by=by())
    show_list(done, args.json)
    return 0


def rollback(args: argparse.Namespace) -> int:
    change = lists_pb2.RollBackListRequest(name=args.list, version=args.version, reason=args.reason)
    if lists_approvals.proposed(args, change):
        return 0
    with keeper(args) as lists:
        show_list(lists.roll_back(args.list, args.version, reason=args.reason, by=by()), args.json)
    return 0


def add(args: argparse.Namespace) -> int:
    wanted = fingerprint(given(args.fingerprint), args)
    with keeper(args) as lists:
        done = lists.add(
            args.list,
            wanted,
            label=args.label,
            source_id=args.source_id,
            source=args.source,
            notes=args.notes,
            expires_at=moment(args.expires, "--expires") if args.expires else None,
            reason=args.reason,
            by=by(),
        )
    show_edit(args.list, done, args.json)
    return 0


def remove(args: argparse.Namespace) -> int:
    text = given(args.entry)
    which = text if len(text) == ID_CHARS and not args.type else fingerprint(text, args)
    with keeper(args) as lists:
        done = lists.remove(args.list, which, reason=args.reason, by=by())
    show_edit(args.list, done, args.json)
    return 0


def lookup(args: argparse.Namespace) -> int:
    with reader(args) as lists:
        found = lists.look_up(fingerprint(given(args.fingerprint), args), args.within)
    show_entries(found.entries, found.revision, args.json)
    return 0


def export(args: argparse.Namespace) -> int:
    write = csv.write if (args.format or Path(args.file).suffix.lower().lstrip(".")) == "csv" else hex.write
    with reader(args) as lists:
        lists.get(args.list)
    log_opening.note_export(args, args.list, args.version)
    with reader(args) as lists:
        entries = lists.export(args.list, args.version)
        if args.json:
            for entry in entries:
                format.emit(as_dict(entry))
        elif args.file == "-":
            sys.stdout.writelines(write(entries))
        else:
            write_file(Path(args.file), write(entries))
    return 0


def pairs(given: list[str], option: str, want: str, *, empty: bool = False) -> Iterator[tuple[str, str]]:
    for pair in given:
        left, equals, right = pair.rpartition("=")
        if not (left and equals and (right or empty)):
            raise Malformed(f"{option}: want {want}")
        yield left.strip(), right.strip()


def given(text: str) -> str:
    return (sys.stdin.readline(_MAX_GIVEN) if text == "-" else text).strip()


def fingerprint(text: str, args: argparse.Namespace) -> Fingerprint:
    hash_type = args.type or DEFAULT_HASH_TYPE
    recipe = load_recipes(args.settings.recipes).get(hash_type)
    if recipe is None:
        raise Malformed(f"--type: unknown hash type '{hash_type}'")
    return Fingerprint(hash_type, guards.packed(text, recipe))
