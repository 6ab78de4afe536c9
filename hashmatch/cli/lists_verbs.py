"""What the verbs of `hashmatch lists` do for an analyst. On the state directory itself; a running server follows."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from hashmatch.cli import format
from hashmatch.cli.lists_output import as_dict, show_entries, show_import, show_list, show_lists, write_file
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

FORMATS = {"hex": lists_pb2.IMPORT_FORMAT_HEX, "csv": lists_pb2.IMPORT_FORMAT_CSV}
DISPOSITIONS = {d.name.lower(): common_pb2.Disposition.ValueType(int(d)) for d in Disposition}
_TABLE_SUFFIXES = (".csv", ".tsv")
_BAD_DATA = 65  # sysexits.h EX_DATAERR
_MAX_GIVEN = 1024  # characters of a fingerprint on standard input; the longest has 128


@contextlib.contextmanager
def _reader(args: argparse.Namespace) -> Iterator[ListReader]:
    store = ListStore(args.state, readonly=True)
    try:
        yield ListReader(store, load_recipes(args.settings.recipes))
    finally:
        store.close()


@contextlib.contextmanager
def _keeper(args: argparse.Namespace) -> Iterator[ListKeeper]:
    store = ListStore(args.state)
    try:
        yield ListKeeper(store, load_recipes(args.settings.recipes))
    finally:
        store.close()


def _by() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def create(args: argparse.Namespace) -> int:
    with _keeper(args) as lists:
        wanted = _policy(args, lists_pb2.Policy())
        show_list(
            lists.create(args.list, operator=args.operator, purpose=args.purpose, policy=wanted, by=_by()), args.json
        )
    return 0


def show(args: argparse.Namespace) -> int:
    with _reader(args) as lists:
        if args.list:
            show_list(lists.get(args.list), args.json)
        else:
            show_lists(lists.all(), args.json)
    return 0


def import_(args: argparse.Namespace) -> int:
    is_table = Path(args.file).suffix.lower() in _TABLE_SUFFIXES
    header = lists_pb2.ImportHeader(
        name=args.list,
        format=FORMATS[args.format or ("csv" if is_table else "hex")],
        columns=dict(_pairs(args.map, "--map", "COLUMN=FIELD")),
        hash_type=args.type,
        dry_run=args.dry_run,
        activate=args.activate,
        merge=args.merge,
        origin="standard input" if args.file == "-" else Path(args.file).name,
    )
    with _opened(args.file) as (file, size), _keeper(args) as lists, format.progress("reading", size, "B") as bar:

        def tell(so_far: int) -> None:
            bar.update(so_far - bar.n)

        done = lists.stage(header, file, by=_by(), allow_rejects=args.allow_rejects, progress=tell)
    show_import(done, header, args.json)
    return _BAD_DATA if not done.accepted or (args.activate and not args.dry_run and not done.activated) else 0


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
    with _reader(args) as lists:
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
    with _keeper(args) as lists:
        show_list(lists.activate(args.list, args.version, reason=args.reason, by=_by()), args.json)
    return 0


def rollback(args: argparse.Namespace) -> int:
    with _keeper(args) as lists:
        show_list(lists.roll_back(args.list, args.version, reason=args.reason, by=_by()), args.json)
    return 0


def add(args: argparse.Namespace) -> int:
    fingerprint = _fingerprint(_given(args.fingerprint), args)
    with _keeper(args) as lists:
        done = lists.add(
            args.list, fingerprint, label=args.label, source_id=args.source_id, reason=args.reason, by=_by()
        )
    show_entries([(args.list, done.entry)], done.revision, args.json)
    return 0


def remove(args: argparse.Namespace) -> int:
    text = _given(args.entry)
    which = text if len(text) == ID_CHARS and not args.type else _fingerprint(text, args)
    with _keeper(args) as lists:
        done = lists.remove(args.list, which, reason=args.reason, by=_by())
    show_entries([(args.list, done.entry)], done.revision, args.json)
    return 0


def lookup(args: argparse.Namespace) -> int:
    with _reader(args) as lists:
        found = lists.look_up(_fingerprint(_given(args.fingerprint), args))
    show_entries([(one.list, one.entry) for one in found.entries], found.revision, args.json)
    return 0


def export(args: argparse.Namespace) -> int:
    write = csv.write if (args.format or Path(args.file).suffix.lower().lstrip(".")) == "csv" else hex.write
    with _reader(args) as lists:
        entries = lists.export(args.list, args.version)
        if args.json:
            for entry in entries:
                format.emit(as_dict(entry))
        elif args.file == "-":
            sys.stdout.writelines(write(entries))
        else:
            write_file(Path(args.file), write(entries))
    return 0


def policy(args: argparse.Namespace) -> int:
    if not (args.threshold or args.disposition or args.variants is not None or args.shadow is not None):
        return show(args)
    with _keeper(args) as lists:
        wanted = _policy(args, lists.get(args.list).policy)
        show_list(lists.set_policy(args.list, wanted, reason=args.reason, by=_by()), args.json)
    return 0


def _policy(args: argparse.Namespace, present: lists_pb2.Policy) -> lists_pb2.Policy:
    """`present` with what the options say."""
    changed = lists_pb2.Policy()
    changed.CopyFrom(present)
    if args.disposition:
        changed.disposition = DISPOSITIONS[args.disposition]
    if args.shadow is not None:
        changed.shadow = args.shadow
    if args.variants is not None:
        changed.variants[:] = [name for name in args.variants.split(",") if name]
    for hash_type, bits in _pairs(args.threshold, "--threshold", "TYPE=BITS"):
        if not (bits.isascii() and bits.isdigit() and len(bits) <= 4):
            raise Malformed("--threshold: want TYPE=BITS, BITS a whole number")
        changed.thresholds[hash_type] = int(bits)
    return changed


def _pairs(given: list[str], option: str, want: str) -> Iterator[tuple[str, str]]:
    for pair in given:
        left, equals, right = pair.rpartition("=")
        if not (left and equals and right):
            raise Malformed(f"{option}: want {want}")
        yield left.strip(), right.strip()


def _given(text: str) -> str:
    return (sys.stdin.readline(_MAX_GIVEN) if text == "-" else text).strip()


def _fingerprint(text: str, args: argparse.Namespace) -> Fingerprint:
    hash_type = args.type or DEFAULT_HASH_TYPE
    recipe = load_recipes(args.settings.recipes).get(hash_type)
    if recipe is None:
        raise Malformed(f"--type: unknown hash type '{hash_type}'")
    return Fingerprint(hash_type, guards.packed(text, recipe))
