"""Which account of this machine may use which verb, where the settings name accounts.

It keeps people from doing by mistake what is another's task, and tells two persons apart. It is no wall: whoever may
write the state directory could go round it, so give each role only the files that it needs.
"""

from __future__ import annotations

import argparse
import getpass
import os
from collections.abc import Iterator

from hashmatch.errors import Forbidden
from hashmatch.roles import VERBS, Open


def leaves(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every verb that does something, by its full name."""
    own = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not own:
        yield name, parser
    for action in own:
        for verb, below in action.choices.items():
            yield from leaves(below, f"{name} {verb}".strip())


def by() -> str:
    """The account that does it, for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def permit(args: argparse.Namespace) -> None:
    """Returns where this account may use the verb.

    Raises:
        Forbidden: it may not; names what is missing.
    """
    accounts = args.settings.accounts
    permission = VERBS.get(args.verb)
    if not accounts or permission is Open.ANYONE:
        return
    account = getpass.getuser()
    if permission is None or permission not in accounts.get(account, ()):
        raise Forbidden(f"'{args.verb}' needs the permission '{permission}', which account '{account}' does not have")
