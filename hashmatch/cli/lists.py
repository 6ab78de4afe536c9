"""`hashmatch lists`: how its verbs are typed; `lists_verbs.py` is what they do."""

from __future__ import annotations

import argparse

from hashmatch.cli import lists_approvals, lists_curating, lists_feedback, lists_policy, lists_trials
from hashmatch.cli import lists_verbs as run
from hashmatch.cli.verbs import Run, Verbs, group
from hashmatch.cli.verbs import verb as any_verb
from hashmatch.hashing.variants import QUERY_VARIANTS
from hashmatch.lists.formats import csv
from hashmatch.lists.ingest import DEFAULT_HASH_TYPE


def add_parser(verbs: Verbs) -> None:
    own = group(
        verbs,
        "lists",
        "hash lists: create, import, activate, roll back, edit, export",
        "Keep hash lists. Changes are made to the state directory; a running server follows by itself.",
    )

    verb = _verb(
        own, "create", lists_policy.create, "make a list with nothing in it yet", "create ncmec --operator NCMEC"
    )
    verb.add_argument("list", metavar="LIST", help="its name: a–z, 0–9, '.', '_', '-'")
    verb.add_argument("--operator", default="", metavar="TEXT", help="whose list it is")
    verb.add_argument("--purpose", default="", metavar="TEXT", help="what it is for, and under which agreement")
    _policy_options(verb)

    verb = _verb(own, "show", run.show, "lists and their versions", "show ncmec")
    verb.add_argument("list", nargs="?", metavar="LIST", help="one list, with its versions (default: every list)")

    verb = _verb(
        own,
        "import",
        run.import_,
        "load a file into a staged version",
        "import ncmec hashes.csv --map MD5=md5 --dry-run",
    )
    verb.add_argument("list", metavar="LIST")
    verb.add_argument("file", metavar="FILE", help="'-' is standard input")
    verb.add_argument("--format", choices=run.FORMATS, default="auto", help="default: auto, which looks at the content")
    verb.add_argument(
        "--type", default="", metavar="TYPE", help="hash type of what does not name its own (default: pdq)"
    )
    verb.add_argument(
        "--map", action="append", default=[], metavar="COLUMN=FIELD",
        help=f"csv: what a column holds: a hash type, or {', '.join(csv.FIELDS)}",
    )  # fmt: skip
    verb.add_argument(
        "--label", action="append", default=[], metavar="THEIRS=OURS",
        help="keep rows labelled THEIRS under label OURS; THEIRS= leaves them out",
    )  # fmt: skip
    verb.add_argument("--delimiter", default="", metavar="CHAR", help="between cells (default: found out)")
    verb.add_argument("--encoding", default="", metavar="NAME", help="of the text (default: utf-8, or as it begins)")
    verb.add_argument("--source", default="", metavar="TEXT", help="where the entries are from, where it is not said")
    verb.add_argument("--opaque", action="store_true", help="take unknown hash types too, to be found by equality")
    verb.add_argument(
        "--max-rejected", type=float, metavar="PERCENT", help="rejected rows past which it cannot be activated (1)"
    )
    verb.add_argument("--merge", action="store_true", help="add to the active entries instead of replacing them")
    verb.add_argument("--dry-run", action="store_true", help="only say what would happen")
    verb.add_argument("--activate", action="store_true", help="activate it too, unless something was rejected")
    verb.add_argument("--allow-rejects", action="store_true", help="activate it even so")

    verb = _verb(own, "diff", run.diff, "what a version would change", "diff ncmec")
    verb.add_argument("list", metavar="LIST")
    verb.add_argument("--from", dest="from_version", type=int, default=0, metavar="N", help="default: the active one")
    verb.add_argument("--to", dest="to_version", type=int, default=0, metavar="N", help="default: the newest staged")

    verb = _verb(own, "activate", run.activate, "make a staged version the one that is searched", "activate ncmec")
    _version_options(verb, "default: the newest staged")
    verb.add_argument("--allow-rejects", action="store_true", help="even where too many of its rows were rejected")
    verb = _verb(own, "rollback", run.rollback, "go back to a version that was active before", "rollback ncmec")
    _version_options(verb, "default: the one before")

    verb = _verb(own, "add", run.add, "list one fingerprint", "add ours - --reason 'case 12' < fingerprint.txt")
    verb.add_argument("list", metavar="LIST")
    _fingerprint_options(verb)
    verb.add_argument("--label", default="", metavar="TEXT", help="the operator's class for it")
    verb.add_argument("--source-id", default="", metavar="TEXT", help="the operator's own id for it")
    verb.add_argument("--source", default="", metavar="TEXT", help="where it is from")
    verb.add_argument("--notes", default="", metavar="TEXT", help="anything else, for the next analyst")
    verb.add_argument("--expires", metavar="TIME", help="when it stops matching: 2027-01-31, or 90d from now")
    verb.add_argument("--reason", required=True, metavar="TEXT", help="why, for the record")

    verb = _verb(
        own, "remove", run.remove, "take one entry out", "remove ours k5xqz7m2a4bcd3ef --reason 'false positive'"
    )
    verb.add_argument("list", metavar="LIST")
    verb.add_argument(
        "entry", metavar="ENTRY", help="its id, as a match or `lists lookup` names it, or its fingerprint"
    )
    verb.add_argument(
        "--type", default="", metavar="TYPE", help="ENTRY is a fingerprint of this type (else pdq, or an id)"
    )
    verb.add_argument("--reason", required=True, metavar="TEXT", help="why, for the record")

    verb = _verb(
        own,
        "lookup",
        run.lookup,
        "the entries of all lists under or near one fingerprint",
        "lookup - --within 40 < fp.txt",
    )
    _fingerprint_options(verb)
    verb.add_argument("--within", type=int, default=0, metavar="BITS", help="greatest distance (default: 0, equal)")

    lists_curating.add_verbs(own, _verb)
    lists_feedback.add_verbs(own, _verb)
    lists_approvals.add_verbs(own, _verb)
    lists_trials.add_verbs(own, _verb)

    verb = _verb(own, "export", run.export, "write a version's entries to a file", "export ours ours.csv --format csv")
    verb.add_argument("list", metavar="LIST")
    verb.add_argument("file", nargs="?", default="-", metavar="FILE", help="default: standard output")
    verb.add_argument("--format", choices=run.FORMATS, help="default: csv for .csv, else hex, which has no labels")
    verb.add_argument("--version", type=int, default=0, metavar="N", help="default: the active one")

    verb = _verb(
        own,
        "policy",
        lists_policy.policy,
        "show or change how a list matches",
        "policy ours --threshold pdq=24 --shadow",
    )
    verb.add_argument("list", metavar="LIST")
    _policy_options(verb)
    verb.add_argument("--no-shadow", dest="shadow", action="store_false", default=None, help="let matches count")
    verb.add_argument("--no-two-person", dest="two_person", action="store_false", default=None, help="one will do")
    verb.add_argument("--reason", default="", metavar="TEXT", help="why, for the record")


def _verb(own: Verbs, name: str, does: Run, help_: str, example: str) -> argparse.ArgumentParser:
    return any_verb(own, name, does, help_, f"example:\n  hashmatch lists {example}")


def _policy_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--disposition", choices=run.DISPOSITIONS, help="what a match asks for (default: review)")
    verb.add_argument(
        "--threshold", action="append", default=[], metavar="TYPE=BITS", help="greatest distance that matches"
    )
    verb.add_argument("--variants", metavar="V,…", help=f"also search variants: {', '.join(QUERY_VARIANTS)}")
    verb.add_argument("--shadow", action="store_true", default=None, help="log matches, let them change nothing")
    verb.add_argument("--trust", choices=run.TRUST, help="how far its entries are to be trusted")
    verb.add_argument(
        "--benign", action="store_true", default=None, help="known-benign media: sets aside what others match"
    )
    verb.add_argument("--rollout", type=float, metavar="PERCENT", help="share of the traffic it counts for")
    verb.add_argument("--rollout-seed", metavar="TEXT", help="draws that share")
    verb.add_argument("--surfaces", metavar="S,…", help="count only there ('' for everywhere)")
    verb.add_argument("--regions", metavar="R,…", help="count only there ('' for everywhere)")
    verb.add_argument("--refresh", metavar="TIME", help="how often it is expected to be imported: 6h, 1d; 0: never")
    verb.add_argument(
        "--two-person", action="store_true", default=None, help="only another person may activate what one staged"
    )
    verb.add_argument(
        "--collision", type=int, metavar="N",
        help="different uploaders in an hour from which on an entry only asks for review (default: 50; 0: never)",
    )  # fmt: skip


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
