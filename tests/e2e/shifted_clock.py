"""`hashmatch`, with a wall clock that jumps: `python shifted_clock.py FILE COMMAND…`. FILE holds seconds, which are
added to the true time and may change at any moment.

All that hashmatch itself knows of the time of day comes from `hashmatch.clock`, and is shifted here before anything
has taken it from there. The kernel's clock is the machine's and not ours to set; a time namespace shifts only the
monotonic ones. So what is not shifted is what gRPC, TLS and the metrics' `time.time()` see.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path

from hashmatch import clock

FILE, TRUE = Path(sys.argv.pop(1)), clock.now


def shifted() -> datetime:
    return TRUE() + timedelta(seconds=float(FILE.read_text()))


clock.now = shifted

if __name__ == "__main__":
    from hashmatch.cli.main import main

    sys.exit(main())
