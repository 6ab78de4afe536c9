"""Opening the log for a verb: what is new in the lists and keys is brought into it first, and reading it is noted."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from hashmatch.access.credentials import Credentials
from hashmatch.audit.feeds import ListFeed
from hashmatch.audit.ledger import Ledger
from hashmatch.cli.accounts import by
from hashmatch.store.env import DATA_FILE
from hashmatch.store.lists import ListStore
from hashmatch.v1.audit_pb2 import Event


@contextmanager
def opened(
    args: argparse.Namespace, how: str, *, filter: str = "", opens: bool = False, lists: ListStore | None = None
) -> Iterator[Ledger]:
    """The ledger of the state directory, once it says that it is read.

    `how` is the verb, `filter` what is asked for, without personal values; `opens`: sealed fields are opened; `lists`:
    the lists, where they are open already. A copy that cannot be written is read all the same, and that is said.

    Raises:
        BadConfig, Corrupt: as `Ledger`.
    """
    if not writable(args.state):
        with closing(Ledger(args.state, readonly=True)) as ledger:
            print("this state cannot be written, so that it does not say who read it", file=sys.stderr)
            yield ledger
        return
    with changing(args, lists) as ledger:
        event = Event()
        read = event.log_read
        read.by, read.how, read.filter, read.opened = by(), how, filter, opens
        read.purpose = getattr(args, "purpose", "")
        with ledger.changing() as log:
            read.first, read.last = 1, log.size
            log.append(event)
        yield ledger


def writable(state: Path) -> bool:
    """Whether the ledger there can be written; a copy on a medium that cannot is still read."""
    return os.access(state / "ledger" / DATA_FILE, os.W_OK)


def note_export(args: argparse.Namespace, name: str, version: int) -> None:
    """Logs that a list's fingerprints are taken out, before they are; a copy that cannot be written says that it does
    not."""
    if not os.access(args.state, os.W_OK):
        print("this state cannot be written, so that it does not say who took the list", file=sys.stderr)
        return
    event = Event()
    said = event.list_exported
    said.list, said.version, said.by, said.how = name, version, by(), "lists export"
    with changing(args) as ledger, ledger.changing() as log:
        log.append(event)


@contextmanager
def changing(
    args: argparse.Namespace, lists: ListStore | None = None, credentials: Credentials | None = None
) -> Iterator[Ledger]:
    """The ledger of the state directory, for a change that is an event itself. `lists`, `credentials`: where they are
    open already."""
    with ExitStack() as opening:
        store = lists or opening.enter_context(closing(ListStore(args.state)))
        feeds = (ListFeed(store), credentials or opening.enter_context(closing(Credentials(args.state))))
        origin = args.settings.log_origin
        yield opening.enter_context(closing(Ledger(args.state, feeds=feeds, origin=origin)))
