"""`hashmatch check`."""

from __future__ import annotations

import argparse
import dataclasses

from hashmatch.access.check import check_access
from hashmatch.audit.check import check_state
from hashmatch.cli import format
from hashmatch.cli.verbs import Verbs, verb
from hashmatch.errors import Corrupt
from hashmatch.workflow.check import check_cases

EXAMPLE = """\
example:
  hashmatch check
  hashmatch check --state /backups/hashmatch-monday --json

Exit code 0 where everything is as it was written, 70 where something is not. A server may run meanwhile."""


def add_parser(verbs: Verbs) -> None:
    verb(
        verbs, "check", run, "verify everything in a state directory", EXAMPLE,
        description="Read every page and row there is, derive again what can be derived, and compare.",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    report = check_state(args.state)
    check_access(report, args.state)
    check_cases(report, args.state)
    if args.json:
        for problem in report.problems:
            format.emit(dataclasses.asdict(problem))
        return Corrupt.exit_code if report.problems else 0
    if report.problems:
        format.table([dataclasses.astuple(p) for p in report.problems], ("environment", "table", "what"))
        return Corrupt.exit_code
    checked = ", ".join(f"{number} {what.replace('_', ' ')}" for what, number in report.checked.items() if number)
    print(f"everything is as it was written: {checked or 'nothing was ever written'}")
    return 0
