"""How much is admitted at once: requests and bytes of media. Past either, a request is refused at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hashmatch.errors import Overloaded

RETRY_SECONDS = 0.2  # what is admitted is answered within about so long


class Admission:
    """Counts what is being received or judged. One event loop owns it."""

    def __init__(self, most_bytes: int, most_requests: int) -> None:
        self._most_bytes, self._most_requests = most_bytes, most_requests
        self._bytes = self._requests = 0

    @contextmanager
    def admit(self, size: int = 0) -> Iterator[Callable[[int], None]]:
        """Holds a place for a request with `size` bytes; call what it yields with the bytes of each further part.

        Raises:
            Overloaded: there is no room; also from the call.
        """
        if self._requests >= self._most_requests:
            raise Overloaded(f"{self._requests} requests are being answered already", retry_after=RETRY_SECONDS)
        held = 0

        def grow(by: int) -> None:
            nonlocal held
            # One alone is always admitted: what it may hold is bounded by the largest media accepted.
            if self._bytes + by > self._most_bytes and self._bytes > held:
                raise Overloaded(f"{self._bytes >> 20} MiB of media are held already", retry_after=RETRY_SECONDS)
            self._bytes += by
            held += by

        self._requests += 1
        try:
            grow(size)
            yield grow
        finally:
            self._requests -= 1
            self._bytes -= held
