"""`hashmatch lists`: what an analyst does with hash lists. Works on the state directory; a running server follows."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from hashmatch.cli import format, options
from hashmatch.cli.lists_output import as_dict, show_entries, show_import, show_list, show_lists, write_file
from hashmatch.errors import Malformed
from hashmatch.hashing.variants import QUERY_VARIANTS
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
_TABLE_SUFFIXES = (".csv", ".tsv")
_DISPOSITIONS = {d.name.lower(): common_pb2.Disposition.ValueType(int(d)) for d in Disposition}
_BAD_DATA = 65  # sysexits.h EX_DATAERR
_MAX_GIVEN = 1024  # characters of a fingerprint on standard input; the longest has 128

R = TypeVar("R", bound=ListReader)
Run = Callable[[argparse.Namespace], int]


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser(
        "lists",
        help="hash lists: create, import, activate, roll back, edit, export",
        description="Keep hash lists. Changes are made to the state directory; a running server follows by itself.",
        epilog="Each verb has its own help with an example: hashmatch lists VERB --help",
    )
    own = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    verb = _verb(own, "create", create, "make a list with nothing in it yet", "create ncmec --operator NCMEC")
    verb.add_argument("list", metavar="LIST", help="its name: a–z, 0–9, '.', '_', '-'")
    verb.add_argument("--operator", default="", metavar="TEXT", help="whose list it is")
    verb.add_argument("--purpose", default="", metavar="TEXT", help="what it is for, and under which agreement")
    _policy_options(verb)

    verb = _verb(own, "show", show, "lists and their versions", "show ncmec")
    verb.add_argument("list", nargs="?", metavar="LIST", help="one list, with its versions (default: every list)")

    verb = _verb(
        own, "import", import_, "load a file into a staged version", "import ncmec hashes.csv --map MD5=md5 --dry-run"
    )
    verb.add_argument("list", metavar="LIST")
    verb.add_argument("file", metavar="FILE", help="'-' is standard input")
    verb.add_argument("--format", choices=FORMATS, help="default: csv for .csv and .tsv, else hex")
    verb.add_argument(
        "--type", default="", metavar="TYPE", help="hash type of what does not name its own (default: pdq)"
    )
    verb.add_argument(
        "--map", action="append", default=[], metavar="COLUMN=FIELD",
        help=f"csv: what a column holds: a hash type, or {', '.join(csv.FIELDS)}",
    )  # fmt: skip
    verb.add_argument("--merge", action="store_true", help="add to the active entries instead of replacing them")
    verb.add_argument("--dry-run", action="store_true", help="only say what would happen")
    verb.add_argument("--activate", action="store_true", help="activate it too, unless something was rejected")
    verb.add_argument("--allow-rejects", action="store_true", help="activate it even so")

    verb = _verb(own, "diff", diff, "what a version would change", "diff ncmec")
    verb.add_argument("list", metavar="LIST")
    verb.add_argument("--from", dest="from_version", type=int, default=0, metavar="N", help="default: the active one")
    verb.add_argument("--to", dest="to_version", type=int, default=0, metavar="N", help="default: the newest staged")

    verb = _verb(own, "activate", activate, "make a staged version the one that is searched", "activate ncmec")
    _version_options(verb, "default: the newest staged")
    verb = _verb(own, "rollback", rollback, "go back to a version that was active before", "rollback ncmec")
    _version_options(verb, "default: the one before")

    verb = _verb(own, "add", add, "list one fingerprint", "add ours - --reason 'case 12' < fingerprint.txt")
    verb.add_argument("list", metavar="LIST")
    _fingerprint_options(verb)
    verb.add_argument("--label", default="", metavar="TEXT", help="the operator's class for it")
    verb.add_argument("--source-id", default="", metavar="TEXT", help="the operator's own id for it")
    verb.add_argument("--reason", required=True, metavar="TEXT", help="why, for the record")

    verb = _verb(own, "remove", remove, "take one entry out", "remove ours k5xqz7m2a4bcd3ef --reason 'false positive'")
    verb.add_argument("list", metavar="LIST")
    verb.add_argument(
        "entry", metavar="ENTRY", help="its id, as a match or `lists lookup` names it, or its fingerprint"
    )
    verb.add_argument(
        "--type", default="", metavar="TYPE", help="ENTRY is a fingerprint of this type (else pdq, or an id)"
    )
    verb.add_argument("--reason", required=True, metavar="TEXT", help="why, for the record")

    verb = _verb(own, "lookup", lookup, "the entries under exactly one fingerprint", "lookup - < fingerprint.txt")
    _fingerprint_options(verb)

    verb = _verb(own, "export", export, "write a version's entries to a file", "export ours ours.csv --format csv")
    verb.add_argument("list", metavar="LIST")
    verb.add_argument("file", nargs="?", default="-", metavar="FILE", help="default: standard output")
    verb.add_argument("--format", choices=FORMATS, help="default: csv for .csv, else hex, which has no labels")
    verb.add_argument("--version", type=int, default=0, metavar="N", help="default: the active one")

    verb = _verb(own, "policy", policy, "show or change how a list matches", "policy ours --threshold pdq=24 --shadow")
    verb.add_argument("list", metavar="LIST")
    _policy_options(verb)
    verb.add_argument("--no-shadow", dest="shadow", action="store_false", default=None, help="let matches count")
    verb.add_argument("--reason", default="", metavar="TEXT", help="why, for the record")


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, run: Run, help_: str, example: str
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name,
        parents=[options.common()],
        help=help_,
        description=f"{help_[0].upper()}{help_[1:]}.",
        epilog=f"example:\n  hashmatch lists {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _policy_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--disposition", choices=_DISPOSITIONS, help="what a match asks for (default: review)")
    verb.add_argument(
        "--threshold", action="append", default=[], metavar="TYPE=BITS", help="greatest distance that matches"
    )
    verb.add_argument("--variants", metavar="V,…", help=f"also search variants: {', '.join(QUERY_VARIANTS)}")
    verb.add_argument("--shadow", action="store_true", default=None, help="log matches, let them change nothing")


def _version_options(verb: argparse.ArgumentParser, default: str) -> None:
    verb.add_argument("list", metavar="LIST")
    verb.add_argument("version", nargs="?", type=int, default=0, metavar="VERSION", help=default)
    verb.add_argument("--reason", default="", metavar="TEXT", help="why, for the record")


def _fingerprint_options(verb: argparse.ArgumentParser) -> None:
    # Arguments are seen by other users of the machine and kept by shells, and fingerprints are victims' data.
    verb.add_argument(
        "fingerprint", metavar="HEX", help="'-' reads it from standard input, which keeps it out of the history"
    )
    verb.add_argument("--type", default="", metavar="TYPE", help=f"its hash type (default: {DEFAULT_HASH_TYPE})")


# ── what the verbs do ───────────────────────────────────────────────────────────────────────────────────────────────


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
        changed.disposition = _DISPOSITIONS[args.disposition]
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
