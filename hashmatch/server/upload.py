"""Media that comes in pieces: bounded in size, in time, in memory and on the disk, whoever sends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from hashmatch.errors import Malformed
from hashmatch.server.spool import Spool
from hashmatch.types import Hashed

PIECE_SECONDS = 30.0  # between two pieces; a sender who is silent for longer is gone
WHOLE_SECONDS = 600.0  # for all of them: a sender who drips keeps no place for ever

Piece = TypeVar("Piece")


class Upload:
    """One upload. What is spooled holds no memory, so a slow sender keeps nobody else's place for it: only what is in
    memory counts there while it comes, and the whole once there is a verdict to make."""

    def __init__(
        self, spool: Spool, bound: Callable[[int, str], None], hold: Callable[[int], None], keep: Callable[[int], None]
    ) -> None:
        """`bound` refuses media of too many bytes; `hold` and `keep` are told what is to be held in memory, and kept on
        the disk, beyond what they know; all three raise where that is too much."""
        self._spool, self._bound, self._hold, self._keep = spool, bound, hold, keep

    @property
    def size(self) -> int:
        """Bytes that came."""
        return self._spool.size

    async def receive(self, chunk: bytes, field: str) -> None:
        """Takes the next bytes.

        Raises:
            Malformed: it is too much media; names `field`.
            Overloaded: there is no room for it now.
            StoreFull, StoreFailed: the disk refused it.
        """
        self._bound(self._spool.size + len(chunk), field)
        if self._spool.stays(len(chunk)):
            self._hold(len(chunk))
            self._spool.write(chunk)
            return
        held = self._spool.in_memory
        self._keep(held + len(chunk))
        # On a thread: a disk that is slow holds nobody else up.
        await asyncio.to_thread(self._spool.write, chunk)
        self._hold(-held)

    async def media(self) -> bytes:
        """Everything that came, in memory.

        Raises:
            Overloaded: there is no room for it now.
            StoreFailed: the disk does not give it back.
        """
        self._hold(self._spool.on_disk)
        return await asyncio.to_thread(self._spool.media) if self._spool.on_disk else self._spool.media()

    def digests(self) -> tuple[Hashed, ...]:
        """The exact digests of what came."""
        return self._spool.digests()


async def in_time(pieces: AsyncIterator[Piece], field: str) -> AsyncIterator[Piece]:
    """The pieces of an upload, as long as they come in time.

    Raises:
        Malformed: they do not; names `field`.
    """
    until = asyncio.get_running_loop().time() + WHOLE_SECONDS
    while True:
        left = until - asyncio.get_running_loop().time()
        try:
            piece = await asyncio.wait_for(anext(pieces), min(PIECE_SECONDS, left))
        except StopAsyncIteration:
            return
        except TimeoutError as e:
            late = f"nothing came for {PIECE_SECONDS:.0f} s" if left > PIECE_SECONDS else "it took too long to come"
            raise Malformed(late, field=field) from e
        yield piece
