"""The trace: what anybody outside can cause does not fill it."""

from __future__ import annotations

import logging

from hashmatch.server.logs import Sparing


def test_lines_beyond_the_bound_are_counted_instead_of_written(caplog):
    now = [100.0]
    trace = logging.getLogger("test.sparing")
    trace.filters[:] = [Sparing(3, now=lambda: now[0])]
    for number in range(10):
        trace.warning("caller '%s' was refused", number)
    trace.warning("of another kind")
    now[0] += 1
    trace.warning("caller '%s' was refused", 10)
    trace.warning("caller '%s' was refused", 11)
    assert caplog.messages == [
        "caller '0' was refused", "caller '1' was refused", "caller '2' was refused", "of another kind",
        "caller '10' was refused (7 more were left out)", "caller '11' was refused",
    ]  # fmt: skip
