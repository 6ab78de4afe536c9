"""Opening the office for a verb: the cases of the state directory and what is beside them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from hashmatch import office
from hashmatch.access.credentials import Credentials
from hashmatch.audit.leaves import Appending
from hashmatch.cli import log_opening
from hashmatch.cli.accounts import by
from hashmatch.office import Office
from hashmatch.roles import Role, roles_from
from hashmatch.store.lists import ListStore
from hashmatch.v1.audit_pb2 import Event


@contextmanager
def opened(args: argparse.Namespace, *, evidence: bool = False) -> Iterator[Office]:
    """The office, for a change. `evidence`: with the vault, whose master key must then be readable.

    Raises:
        BadConfig, Corrupt: as `office.opened`.
    """
    with ExitStack() as opening:
        credentials = opening.enter_context(closing(Credentials(args.state)))
        lists = opening.enter_context(closing(ListStore(args.state)))
        ledger = opening.enter_context(log_opening.changing(args, lists, credentials))
        yield opening.enter_context(office.opened(ledger, args.settings, credentials, lists, evidence=evidence))


@contextmanager
def step(args: argparse.Namespace, *, evidence: bool = False) -> Iterator[tuple[Appending, Office]]:
    """One transaction of the office."""
    with opened(args, evidence=evidence) as found, found.ledger.changing() as log:
        yield log, found


@contextmanager
def reading(args: argparse.Namespace, how: str, *, filter: str = "", evidence: bool = False) -> Iterator[Office]:
    """The office, once the log says that it is read."""
    with opened(args, evidence=evidence) as found:
        event = Event()
        read = event.log_read
        read.by, read.how, read.filter, read.opened = by(), how, filter, True
        with found.ledger.changing() as log:
            read.first, read.last = 1, log.size
            log.append(event)
        yield found


def roles(args: argparse.Namespace) -> frozenset[Role]:
    """Those of this account; every one where the settings name no accounts."""
    accounts = args.settings.accounts
    return roles_from(accounts.get(by(), ()), "accounts") if accounts else frozenset(Role)
