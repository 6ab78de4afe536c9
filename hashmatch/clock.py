"""Time and ids, so that nothing else reads the clock. Order comes from sequences and revisions, never from here."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime


def now() -> datetime:
    """The present in UTC, whole microseconds."""
    return datetime.now(UTC)


def new_id(prefix: str) -> str:
    """A fresh id such as "v_01j9…": 48 bits of milliseconds and 80 random bits, so that ids sort by time."""
    millis = int(now().timestamp() * 1000).to_bytes(6, "big")
    return f"{prefix}_{(millis + secrets.token_bytes(10)).hex()}"
