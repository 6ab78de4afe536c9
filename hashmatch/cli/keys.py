"""`hashmatch keys`: who may call the server."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from datetime import datetime
from typing import Any

from hashmatch import clock
from hashmatch.access.credentials import Credential, Credentials
from hashmatch.cli import format
from hashmatch.cli.accounts import by
from hashmatch.cli.amounts import moment
from hashmatch.cli.verbs import Verbs, group, verb
from hashmatch.roles import Role

EXAMPLE = """\
example:
  hashmatch keys create upload-eu --role uploader > upload-eu.key
  hashmatch keys create ann --role analyst --role detail --expires 90d > ann.key
  hashmatch keys create gateway --role uploader --certificate gateway.example.org

From the first one on, callers of a server whose setting auth is 'auto' must show one."""


def add_parser(verbs: Verbs) -> None:
    own = group(
        verbs,
        "keys",
        "bearer keys and certificates that callers are known by",
        "Keep the credentials of callers. A running server follows at once.",
    )
    create = verb(own, "create", _create, "make a key, which is shown this once, or let a certificate in", EXAMPLE)
    create.add_argument("name", metavar="NAME", help="who it is, for the record; two persons are told apart by it")
    create.add_argument(
        "--role", action="append", required=True, choices=[r.value for r in Role], help="what they may; repeatable"
    )
    create.add_argument(
        "--certificate", default="", metavar="SAN", help="a name in the caller's certificate, instead of a key"
    )
    create.add_argument("--expires", metavar="TIME", help="when it ends: 2027-01-31, or 90d (default: never)")
    create.add_argument("--per-second", type=int, default=0, metavar="N", help="most requests a second (0: no limit)")
    create.add_argument("--per-day", type=int, default=0, metavar="N", help="most requests a day (0: no limit)")
    verb(own, "list", _list, "who is known, and when each was last used", "example:\n  hashmatch keys list --json")
    revoke = verb(
        own, "revoke", _revoke, "refuse a credential from now on", "example:\n  hashmatch keys revoke 3f9c0a1b2c4d"
    )
    revoke.add_argument("id", metavar="ID", help="as `hashmatch keys list` shows it")


def _create(args: argparse.Namespace) -> int:
    with closing(Credentials(args.state)) as credentials:
        made, key = credentials.create(
            args.name,
            args.role,
            by=by(),
            certificate=args.certificate,
            expires_at=moment(args.expires, "--expires") if args.expires else None,
            per_second=args.per_second,
            per_day=args.per_day,
        )
    if args.json:
        format.emit(_row(made, None) | ({"key": key} if key else {}))
    elif key:
        print(key)
        print(f"key {made.id} for '{made.name}': this is the only time it is shown", file=sys.stderr)
    else:
        print(f"{made.id}: '{made.name}' is known by certificate {format.plain(made.certificate)}")
    return 0


def _list(args: argparse.Namespace) -> int:
    with closing(Credentials(args.state)) as credentials:
        rows = [_row(one, used) for one, used in credentials.all()]
    if args.json:
        for row in rows:
            format.emit(row)
    else:
        shown = [(r["id"], r["name"], "+".join(r["roles"]), r["proof"], r["state"], r["last_used"] or "") for r in rows]
        format.table(shown, ("id", "name", "roles", "known by", "state", "last used (UTC)"))
    return 0


def _revoke(args: argparse.Namespace) -> int:
    with closing(Credentials(args.state)) as credentials:
        gone = credentials.revoke(args.id, by=by())
    if args.json:
        format.emit(_row(gone, None))
    else:
        print(f"{gone.id}: '{gone.name}' is refused from now on")
    return 0


def _row(one: Credential, used: datetime | None) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "roles": sorted(role.value for role in one.roles),
        "proof": one.certificate or "key",
        "state": one.dead(clock.now()) or "live",
        "created_at": one.created_at.isoformat(),
        "created_by": one.created_by,
        "expires_at": one.expires_at.isoformat() if one.expires_at else None,
        "per_second": one.per_second,
        "per_day": one.per_day,
        "last_used": used.isoformat(sep=" ", timespec="minutes")[:16] if used else None,
    }
