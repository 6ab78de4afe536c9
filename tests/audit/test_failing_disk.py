"""A disk that refuses: nothing is acknowledged that is not there, and nothing goes on as if it were."""

from __future__ import annotations

from pathlib import Path

import pytest

REFUSED = ["first StoreFailed", "healthy False True", "second StoreFailed"]
AS_IF_FULL = ["first StoreFull", "healthy False True", "second acknowledged True"]
AFTER_REOPENING = ["lost [] None", "third acknowledged True", "problems []"]


@pytest.mark.parametrize(
    ("call", "number", "expected"),
    [
        ("sync", "EIO", REFUSED),
        ("write", "EIO", REFUSED),
        ("write", "EROFS", REFUSED),
        ("meta", "EIO", REFUSED),
        ("write", "ENOSPC", AS_IF_FULL),
        ("write", "EDQUOT", AS_IF_FULL),
        ("sync", "ENOSPC", AS_IF_FULL),
        # The meta page may or may not be on disk then, and LMDB itself refuses to go on.
        ("meta", "ENOSPC", ["first StoreFull", "healthy False True", "second StoreFailed"]),
    ],
)
def test_refused_call(nursery, tmp_path: Path, call: str, number: str, expected: list[str]) -> None:
    code, lines = nursery.run("fail_disk", str(tmp_path), call, number)
    assert (code, lines) == (0, expected + AFTER_REOPENING)
