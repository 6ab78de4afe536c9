"""`hashmatch simulate`: imitations of other people's services, to rehearse with on this machine."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from types import FrameType

from hashmatch.cli import format
from hashmatch.cli.verbs import Verbs, group, verb
from hashmatch.errors import Malformed
from hashmatch.simulate.cybertipline import Settings, serving
from hashmatch.simulate.faults import spec_of

EXAMPLE = """\
example:
  hashmatch simulate cybertipline --port 8081
  hashmatch simulate cybertipline --faults 'submit:lost-reply@1; upload:slow=2s; finish:500x2'

It listens on loopback only, is a test environment and forgets everything when it ends. SIGTERM or Ctrl-C ends it.
A fault is endpoint:kind[=amount][@nth|xcount]; --faults also takes the name of a file with one on each line."""


def add_parser(verbs: Verbs) -> None:
    below = group(verbs, "simulate", "imitate a service that reports go to",
                  "Imitate a service that reports go to, to rehearse with on this machine.")  # fmt: skip
    one = verb(
        below, "cybertipline", cybertipline, "imitate NCMEC's CyberTipline Reporting API", EXAMPLE,
        description="Imitate NCMEC's CyberTipline Reporting API on loopback. Prints its URL, and runs until it is told "
        "to stop.",
    )  # fmt: skip
    known = Settings()
    one.add_argument("--port", type=int, default=0, metavar="N", help="default: a free one")
    one.add_argument("--user", default=known.user, metavar="U", help=f"whom it lets in (default: {known.user})")
    one.add_argument("--password", default=known.password, metavar="P", help=f"with (default: {known.password})")
    one.add_argument("--faults", default="", metavar="SPEC", help="what is to go wrong, or a file that says so")


def cybertipline(args: argparse.Namespace) -> int:
    if not args.user or ":" in args.user:
        raise Malformed("want a name without ':'", field="--user")
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    before = {one: signal.signal(one, stop) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        settings = Settings(user=args.user, password=args.password)
        with serving(port=args.port, settings=settings, faults=spec_of(args.faults)) as tipline:
            _say(tipline.url, args)
            stopping.wait()
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    return 0


def _say(url: str, args: argparse.Namespace) -> None:
    if args.json:
        format.emit({"url": url, "user": args.user})
    else:
        print(f"an imitation of the CyberTipline, for tests, is at {url} for user {args.user}")
    sys.stdout.flush()  # whoever started it and reads a pipe waits for this line
