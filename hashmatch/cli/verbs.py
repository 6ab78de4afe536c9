"""How a verb is typed: every one has a line of help, a description and an example, and takes the common options."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import TypeAlias

from hashmatch.cli import options

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Run = Callable[[argparse.Namespace], int]


def verb(
    verbs: Verbs,
    name: str,
    run: Run,
    help_: str,
    example: str,
    *,
    description: str = "",
    parents: Iterable[argparse.ArgumentParser] = (),
) -> argparse.ArgumentParser:
    """Adds a verb that does something.

    Args:
        description: as its own help begins; without one, `help_` as a sentence.
        parents: more options that it shares with others.
    """
    parser = verbs.add_parser(
        name,
        parents=[options.common(), *parents],
        help=help_,
        description=description or f"{help_[0].upper()}{help_[1:]}.",
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def group(verbs: Verbs, name: str, help_: str, description: str, *, example: str = "") -> Verbs:
    """Adds a verb that has verbs of its own, and returns where those go."""
    parser = verbs.add_parser(
        name,
        help=help_,
        description=description,
        epilog=example or f"Each verb has its own help with an example: hashmatch {name} VERB --help",
        formatter_class=argparse.RawDescriptionHelpFormatter if example else argparse.HelpFormatter,
    )
    return parser.add_subparsers(title="verbs", metavar="VERB", required=True)
