"""What must be done in time besides the steps of cases, watched as one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from hashmatch.audit.leaves import Appending
from hashmatch.store.env import Txn
from hashmatch.workflow.sender import Late


class Several:
    """Those that must be answered in time, of several kinds: as `sender.Late`."""

    def __init__(self, *kinds: Late) -> None:
        self._kinds = kinds

    def late(self, txn: Txn, now: datetime, limit: int) -> Sequence[object]:
        """As `Late.late`."""
        return [one for kind in self._kinds for one in kind.late(txn, now, limit)][:limit]

    def breaches(self, log: Appending, limit: int) -> int:
        """As `Late.breaches`; so many of each kind."""
        return sum(kind.breaches(log, limit) for kind in self._kinds)
