"""Prints docs/case-states.md: what may happen to cases, instructions, reports and holds, from the code's tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from enum import Enum

from hashmatch.workflow import case, hold, inquiry, outbox, paging_table, report

HEAD = """\
# States of cases, instructions, reports, holds, inquiries and pages

Made by `tools/genstates` from `hashmatch/workflow/`; do not edit. What is not in these tables is refused.
"""


def table(names: tuple[str, ...], rows: Iterable[Iterable[object]]) -> None:
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))
    for row in rows:
        cells = (cell.name if isinstance(cell, Enum) and not isinstance(cell, str) else str(cell) for cell in row)
        print("| " + " | ".join(cells) + " |")


def main() -> None:
    print(HEAD)
    print("## Cases\n")
    table(("state", "meaning"), ((state.value, state.meaning) for state in case.State))
    print("\nA decision in ESCALATED is a lead's; of two reviewers, neither is the other.\n")
    table(("in", "step", "then", "whose"), case.table())
    print("\n## Instructions to the platform\n")
    moves = dict(outbox.table())
    table(("state", "meaning", "may become"), ((s.value, s.meaning, moves[s.value]) for s in outbox.State))
    print("\n## Reports to NCMEC\n")
    rows = [[getattr(row, field.name) for field in fields(row)] for row in report.table()]
    names = tuple(field.name.replace("_", " ") for field in fields(next(iter(report.table()))))
    table(names, rows)
    print("\n## Holds\n")
    table(
        ("kind", "placed when", "whose duty", "how long", "keeps", "ended by", "a cleared case ends it"), hold.table()
    )
    print("\n## Inquiries of users and agencies\n")
    table(("kind", "meaning", "answered within", "whose time that is", "fulfilled once", "at once"), inquiry.table())
    print()
    table(("state", "meaning"), ((state.value, state.meaning) for state in inquiry.State))
    print("\nWho approves is not who verified.\n")
    table(("in", "step", "then"), ((state, step, to) for (state, step), to in inquiry.NEXT.items()))
    print("\n## Pages\n")
    table(("state", "meaning"), ((state.value, state.meaning) for state in paging_table.State))
    print()
    table(("in", "step", "then"), paging_table.table())
    print()
    table(
        ("tier", "who is told, in turn", "each has", "all again after", "taken, again after", "waits in quiet hours"),
        paging_table.tier_table(),
    )


if __name__ == "__main__":
    main()
