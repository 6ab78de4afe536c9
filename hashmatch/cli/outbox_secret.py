"""`hashmatch outbox secret`: what the messages of a destination are signed with."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hashmatch.cli import format
from hashmatch.cli.verbs import Verbs, verb
from hashmatch.workflow import secret_file

EXAMPLE = """\
example:
  hashmatch outbox secret --to platform.secrets
  hashmatch outbox secret --ed25519 --to platform.secrets

The first is shared with the platform; of the second the platform is given the public key alone, which is printed. To
exchange a secret, add a line to the file, have the platform verify by the new one, then take the old line out: a server
follows its files."""


def add_parser(outbox: Verbs) -> None:
    """Adds it to the verbs of `hashmatch outbox`."""
    one = verb(outbox, "secret", secret, "make a secret that a destination's messages are signed with", EXAMPLE)
    one.add_argument("--ed25519", action="store_true", help="a key pair: whoever verifies cannot sign")
    one.add_argument("--to", type=Path, metavar="FILE", help="must not exist; default: standard output")


def secret(args: argparse.Namespace) -> int:
    signing, verifying = secret_file.made(ed25519=args.ed25519)
    if args.to is not None:
        secret_file.create(args.to, signing)
    if args.json:
        told = {"file": str(args.to)} if args.to is not None else {"secret": signing}
        format.emit(told | ({"public": verifying} if args.ed25519 else {}))
    elif args.to is None:
        print(signing)
        if args.ed25519:  # apart, so that `> platform.secrets` holds what signs alone
            print(f"for the platform: {verifying}", file=sys.stderr)
    else:
        print(verifying if args.ed25519 else f"{args.to}: a new secret")
    return 0
