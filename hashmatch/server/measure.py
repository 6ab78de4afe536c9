"""The figures of a state directory on standard output: `python -m hashmatch.server.measure ORDER`, started by
measuring.py and kpis.py. It reads the ledger and writes nothing.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from hashmatch import clock
from hashmatch.audit.ledger import Ledger
from hashmatch.errors import HashmatchError
from hashmatch.media.walls import die_with_parent
from hashmatch.workflow import figures, policy_file
from hashmatch.workflow.policy_store import PolicyInForce

NICENESS: Final = 10  # whoever judges goes first


def main(order: dict[str, Any]) -> int:
    """Tells the figures; the exit code."""
    die_with_parent(order["parent"])
    os.nice(NICENESS)
    now = clock.now()
    try:
        with closing(Ledger(Path(order["state"]), readonly=True)) as ledger:
            policy = PolicyInForce(ledger.env, policy_file.load(Path(order["policy"]) if order["policy"] else None)).now
            since, until = (datetime.fromisoformat(order[k]) if k in order else None for k in ("since", "until"))
            if "window_days" in order:
                since = now - timedelta(days=order["window_days"])
            found = figures.figures(ledger, policy, now, since=since, until=until)
    except HashmatchError as e:
        print(e, file=sys.stderr)
        return e.exit_code
    print(json.dumps(figures.told(found)))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # nobody listens any more
    sys.exit(main(json.loads(sys.argv[1])))
