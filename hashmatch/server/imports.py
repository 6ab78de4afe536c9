"""Imports over the wire: the chunks of a stream go to a process that imports them, and its answer comes back.

Nothing is changed before the last chunk was handed over and the end of the stream was a true end: until then the
process is killed where the sender leaves, is silent, or sent another length than the header says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from hashmatch import convert, importer
from hashmatch.errors import Malformed, Overloaded
from hashmatch.v1 import lists_pb2

MAX_IMPORTS = 2  # at once, each in a process of some 150 MB
MAX_IMPORT_BYTES = 8 << 30  # 100 M lines of the longest usual kind
CHUNK_SECONDS = 30.0  # between two chunks of an import; longer than a bad line is silent
LEAVING_SECONDS = 0.1  # between the end of a stream and the word that its sender was gone
RETRY_SECONDS = 10.0  # what a refused caller is told to wait

trace = logging.getLogger(__name__)


class Imports:
    """Runs the imports of one server. One event loop owns it."""

    def __init__(self, state: Path, recipes: Path | None) -> None:
        self._state, self._recipes = state, recipes
        self._places = MAX_IMPORTS
        self._running: set[asyncio.subprocess.Process] = set()

    async def run(
        self, header: lists_pb2.ImportHeader, requests: AsyncIterator[lists_pb2.ImportListRequest], by: str
    ) -> lists_pb2.ImportListResponse:
        """What an import tells.

        Raises:
            Overloaded: there are too many.
            HashmatchError: what the import raises.
        """
        if not self._places:
            raise Overloaded(f"{MAX_IMPORTS} imports are under way already", retry_after=RETRY_SECONDS)
        self._places -= 1
        try:
            return await self._run(header, requests, by)
        finally:
            self._places += 1

    async def _run(
        self, header: lists_pb2.ImportHeader, requests: AsyncIterator[lists_pb2.ImportListRequest], by: str
    ) -> lists_pb2.ImportListResponse:
        process = await asyncio.create_subprocess_exec(
            *importer.command(self._state, self._recipes, by),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self._running.add(process)
        try:
            await _feed(process, header, requests)
            output, noise = await process.communicate()
        finally:
            self._running.discard(process)
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if noise:
            trace.error("an import said: %s", noise.decode(errors="replace").strip()[-2000:])
        return importer.told(output, process.returncode or 0)

    async def close(self) -> None:
        """Ends the imports that are under way; what they have not finished never was."""
        for process in list(self._running):
            with suppress(ProcessLookupError):
                process.kill()
        while self._running:
            await asyncio.sleep(0.01)


async def _feed(
    process: asyncio.subprocess.Process,
    header: lists_pb2.ImportHeader,
    requests: AsyncIterator[lists_pb2.ImportListRequest],
) -> None:
    """Hands header and file over, as fast as they are taken."""
    given = process.stdin
    if given is None:
        raise RuntimeError("the process was started without standard input")
    size = 0
    # A process that refuses the file early closes its end; what it has to say is read afterwards.
    with suppress(BrokenPipeError, ConnectionResetError):
        given.write(importer.framed(header.SerializeToString()))
        while (part := await _next(requests)) is not None:
            convert.refuse_unknown_fields(part)
            if part.WhichOneof("part") != "chunk":
                raise Malformed("the header comes once, and first", field="header")
            size += len(part.chunk)
            if size > MAX_IMPORT_BYTES:
                raise Malformed(f"more than {MAX_IMPORT_BYTES} bytes", field="chunk")
            if part.chunk:  # an empty one would be the end
                given.write(importer.framed(part.chunk))
            await given.drain()
        if header.bytes not in (0, size):
            raise Malformed(f"{size} bytes came, the header says {header.bytes}", field="header.bytes")
        # A caller who leaves ends the stream like one who has sent everything; that he left is told beside it, and
        # cancels this call.
        await asyncio.sleep(LEAVING_SECONDS)
        given.write(importer.framed(b""))
    given.close()


async def _next(requests: AsyncIterator[lists_pb2.ImportListRequest]) -> lists_pb2.ImportListRequest | None:
    try:
        return await asyncio.wait_for(anext(requests, None), CHUNK_SECONDS)
    except TimeoutError as e:
        raise Malformed(f"nothing came for {CHUNK_SECONDS:.0f} s; nothing was imported", field="chunk") from e
