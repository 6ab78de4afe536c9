"""Grants to see evidence, listed: who may see, or saw, which case's, at which level, by whose leave, until when."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from hashmatch.audit import tables
from hashmatch.errors import Malformed
from hashmatch.store.env import Env, Txn
from hashmatch.v1.cases_pb2 import GrantRecord
from hashmatch.workflow.inputs import spelling
from hashmatch.workflow.rows import Messages

READ: Final = 20_000  # rows for one page: each claim with a look leaves one, and a look-up must end


class Standing(StrEnum):
    """How far a grant is."""

    ASKED = "asked"
    GIVEN = "given"
    OVER = "over"


def standing(grant: GrantRecord, now: datetime) -> Standing:
    """How far a grant is now."""
    if not grant.approver:
        return Standing.ASKED
    return Standing.GIVEN if now <= grant.until.ToDatetime(UTC) else Standing.OVER


def page(
    env: Env, txn: Txn, now: datetime, *, case_id: str = "", to: str = "", every: bool = False, after: str = "",
    limit: int,
) -> tuple[list[GrantRecord], str]:  # fmt: skip
    """Grants, the newest case's first, and where the next page begins; "": there is none. A page may be short.

    Args:
        to: whose; "": everybody's.
        every: those that are over, too.
    Raises:
        Malformed: `after` is of no page.
    """
    try:
        start = bytes.fromhex(after)
    except ValueError as e:
        raise Malformed("want the next_page_token of the answer before", field="page_token") from e
    prefix = f"{case_id}\0".encode() if case_id else b""
    if not start.startswith(prefix) and start:
        raise Malformed("of a page of another case", field="page_token")
    found: list[GrantRecord] = []
    rows = Messages(env, tables.EVIDENCE[0], GrantRecord).under(txn, prefix, start=start, newest=True)
    for number, (key, grant) in enumerate(rows, 1):
        if (every or standing(grant, now) is not Standing.OVER) and (not to or spelling(grant.to) == spelling(to)):
            found.append(grant)
        if len(found) == limit or number == READ:
            return found, key.hex()
    return found, ""
