"""Changed settings and certificates, taken over while the server runs: at SIGHUP, or once the files are seen to change.

What can change in place is in RELOADABLE; of anything else the trace says that it waits for a restart. A file that
cannot be read as settings changes nothing.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

from hashmatch.config import Settings
from hashmatch.errors import BadConfig

RELOADABLE = frozenset(
    {
        "in_flight",
        "in_flight_bytes",
        "queue",
        "queue_ms",
        "spool_bytes",
        "spooled_bytes",
        "drain_seconds",
        "log_format",
        "log_level",
    }
)
LOOK_SECONDS = 1.0  # between two looks at the files

trace = logging.getLogger(__name__)


class Reloader:
    """Follows the settings of one server. One event loop owns it."""

    def __init__(self, settings: Settings, load: Callable[[], Settings], file: Path | None) -> None:
        """`load` reads the settings anew from where they came; `file` is the one among them."""
        self.settings = settings
        self._load, self._file = load, file
        self._mark = self._marked()

    def changed(self) -> bool:
        """Whether the file is another than when it was last read."""
        return self._marked() != self._mark

    def _marked(self) -> tuple[int, int, int] | None:
        try:
            stat = self._file.stat() if self._file else None
        except OSError:
            return None
        return (stat.st_mtime_ns, stat.st_ino, stat.st_size) if stat else None

    def reload(self, apply: Callable[[Settings], None]) -> str:
        """Reads the settings anew and gives them to `apply`: "reloaded", "unchanged", or "failed", which is traced."""
        self._mark = self._marked()
        try:
            wanted = self._load()
        except BadConfig as e:
            trace.error("the settings were not reloaded, the old ones stay: %s", e)
            return "failed"
        names = [f.name for f in dataclasses.fields(Settings)]
        changed = {name for name in names if getattr(wanted, name) != getattr(self.settings, name)}
        if waiting := sorted(changed - RELOADABLE):
            trace.warning("changed, and waiting for a restart: %s", ", ".join(waiting))
        taken = sorted(changed & RELOADABLE)
        if not taken:
            return "unchanged"
        self.settings = dataclasses.replace(self.settings, **{name: getattr(wanted, name) for name in taken})
        apply(self.settings)
        trace.info("reloaded: %s", ", ".join(taken))
        return "reloaded"
