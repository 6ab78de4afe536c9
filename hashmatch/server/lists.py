"""ListService: wire in, wire out. No decisions here; blocking work is done on threads, so that verdicts go on.

The threads are this service's own, and imports have theirs apart: whoever is slow to send holds up an import at most.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, ParamSpec, TypeVar

import grpc

from hashmatch import convert
from hashmatch.errors import Malformed, Overloaded
from hashmatch.lists.keeper import ListKeeper
from hashmatch.types import Fingerprint
from hashmatch.v1 import common_pb2, lists_pb2, lists_pb2_grpc

MAX_IMPORT_BYTES = 8 << 30  # 100 M lines of the longest usual kind
READ_BYTES = 1 << 20  # of an import handed to the parser at once
CHUNK_SECONDS = 30.0  # between two chunks of an import; longer than a bad line is silent; its thread waits too
LEAVING_SECONDS = 0.1  # between the end of a stream and the word that its sender was gone; both are in one queue
EXPORT_PAGE = 4096  # entries per message: about 600 KB, well below gRPC's 4 MB
THREADS = 4  # for short calls: look-ups go on while one waits for the store's writer
MAX_CALLS = 64  # short calls at once, running or waiting for a thread: a second's worth
MAX_IMPORTS = 2  # at once, each with a thread: an import holds some 130 bytes of memory per entry
CALL_RETRY_SECONDS, IMPORT_RETRY_SECONDS = 0.5, 10.0  # what a refused caller is told to wait

Context = grpc.aio.ServicerContext[Any, Any]
P = ParamSpec("P")
R = TypeVar("R")


class _Threads:
    """Threads for one kind of call."""

    def __init__(self, what: str, threads: int, at_once: int, retry_after: float) -> None:
        """At most `at_once` calls run or wait for a thread; `retry_after` is what any more are told, in seconds."""
        self._what, self._at_once, self._retry_after = what, at_once, retry_after
        self._room = threading.Semaphore(at_once)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=f"lists-{what}")

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What `work` returns. A caller who leaves takes his call with him only where no thread has begun it.

        Raises:
            Overloaded: there are too many such calls.
        """
        if not self._room.acquire(blocking=False):
            raise Overloaded(f"{self._at_once} {self._what} are under way already", retry_after=self._retry_after)
        doing: Future[R] = self._executor.submit(work, *args, **kwargs)
        doing.add_done_callback(lambda _: self._room.release())
        return await asyncio.wrap_future(doing)

    def close(self) -> None:
        """Waits for the calls that have begun; drops the others."""
        self._executor.shutdown(cancel_futures=True)


class ListServicer(lists_pb2_grpc.ListServiceServicer):
    def __init__(self, keeper: ListKeeper) -> None:
        self._lists = keeper
        self._short = _Threads("calls", THREADS, MAX_CALLS, CALL_RETRY_SECONDS)
        self._imports = _Threads("imports", MAX_IMPORTS, MAX_IMPORTS, IMPORT_RETRY_SECONDS)

    async def close(self) -> None:
        """Waits until no call uses the lists any more: one may outlive its caller, and the store must outlive it."""
        for threads in (self._short, self._imports):
            await asyncio.to_thread(threads.close)

    async def CreateList(self, request: lists_pb2.CreateListRequest, context: Context) -> lists_pb2.CreateListResponse:
        convert.refuse_unknown_fields(request)
        made = await self._short.run(
            self._lists.create,
            request.name,
            operator=request.operator,
            purpose=request.purpose,
            policy=request.policy,
            by=_caller(context),
        )
        return lists_pb2.CreateListResponse(list=made)

    async def GetList(self, request: lists_pb2.GetListRequest, context: Context) -> lists_pb2.GetListResponse:
        convert.refuse_unknown_fields(request)
        return lists_pb2.GetListResponse(list=await self._short.run(self._lists.get, request.name))

    async def ListLists(self, request: lists_pb2.ListListsRequest, context: Context) -> lists_pb2.ListListsResponse:
        convert.refuse_unknown_fields(request)
        return await self._short.run(self._lists.all)

    async def SetPolicy(self, request: lists_pb2.SetPolicyRequest, context: Context) -> lists_pb2.SetPolicyResponse:
        convert.refuse_unknown_fields(request)
        if not request.HasField("policy"):
            raise Malformed("must be given", field="policy")
        changed = await self._short.run(
            self._lists.set_policy, request.name, request.policy, reason=request.reason, by=_caller(context)
        )
        return lists_pb2.SetPolicyResponse(list=changed)

    async def ImportList(
        self, requests: AsyncIterator[lists_pb2.ImportListRequest], context: Context
    ) -> lists_pb2.ImportListResponse:
        first = await anext(requests, None)
        if first is None or first.WhichOneof("part") != "header":
            raise Malformed("the header comes first", field="header")
        convert.refuse_unknown_fields(first)
        header = first.header
        chunks = _Chunks(requests, asyncio.get_running_loop(), header.bytes)
        file = io.BufferedReader(chunks, READ_BYTES)
        try:
            return await self._imports.run(
                self._lists.stage, header, file, by=_caller(context), allow_rejects=header.allow_rejects
            )
        except asyncio.CancelledError:
            chunks.abandoned = True
            raise

    async def DiffList(self, request: lists_pb2.DiffListRequest, context: Context) -> lists_pb2.DiffListResponse:
        convert.refuse_unknown_fields(request)
        return await self._short.run(self._lists.diff, request.name, request.from_version, request.to_version)

    async def ActivateList(
        self, request: lists_pb2.ActivateListRequest, context: Context
    ) -> lists_pb2.ActivateListResponse:
        convert.refuse_unknown_fields(request)
        changed = await self._short.run(
            self._lists.activate, request.name, request.version, reason=request.reason, by=_caller(context)
        )
        return lists_pb2.ActivateListResponse(list=changed)

    async def RollBackList(
        self, request: lists_pb2.RollBackListRequest, context: Context
    ) -> lists_pb2.RollBackListResponse:
        convert.refuse_unknown_fields(request)
        changed = await self._short.run(
            self._lists.roll_back, request.name, request.version, reason=request.reason, by=_caller(context)
        )
        return lists_pb2.RollBackListResponse(list=changed)

    async def AddEntry(self, request: lists_pb2.AddEntryRequest, context: Context) -> lists_pb2.AddEntryResponse:
        convert.refuse_unknown_fields(request)
        return await self._short.run(
            self._lists.add,
            request.name,
            _fingerprint(request.fingerprint),
            quality=request.fingerprint.quality if request.fingerprint.HasField("quality") else None,
            label=request.label,
            source_id=request.source_id,
            reason=request.reason,
            by=_caller(context),
        )

    async def RemoveEntry(
        self, request: lists_pb2.RemoveEntryRequest, context: Context
    ) -> lists_pb2.RemoveEntryResponse:
        convert.refuse_unknown_fields(request)
        which = request.WhichOneof("which")
        if which is None:
            raise Malformed("name the entry by its id or its fingerprint", field="which")
        return await self._short.run(
            self._lists.remove,
            request.name,
            request.entry_id if which == "entry_id" else _fingerprint(request.fingerprint),
            reason=request.reason,
            by=_caller(context),
        )

    async def LookUpEntry(
        self, request: lists_pb2.LookUpEntryRequest, context: Context
    ) -> lists_pb2.LookUpEntryResponse:
        convert.refuse_unknown_fields(request)
        return await self._short.run(self._lists.look_up, _fingerprint(request.fingerprint))

    async def ExportList(
        self, request: lists_pb2.ExportListRequest, context: Context
    ) -> AsyncIterator[lists_pb2.ExportListResponse]:
        convert.refuse_unknown_fields(request)
        entries = await self._short.run(self._lists.export, request.name, request.version)
        while page := await self._short.run(_page, entries):
            yield lists_pb2.ExportListResponse(entries=page)


def _page(entries: Iterator[lists_pb2.Entry]) -> list[lists_pb2.Entry]:
    return list(islice(entries, EXPORT_PAGE))


def _fingerprint(given: common_pb2.Fingerprint) -> Fingerprint:
    return Fingerprint(given.hash_type, given.value)


def _caller(context: Context) -> str:
    """Who calls, for the record: the name in a client's certificate, where there is one."""
    names = context.peer_identities() or ()
    return ", ".join(bytes(name).decode(errors="replace") for name in names) or "anonymous"


class _Chunks(io.RawIOBase):
    """The chunks of an import as a file, read by a worker thread, so that a slow reader holds its sender back."""

    def __init__(
        self, requests: AsyncIterator[lists_pb2.ImportListRequest], loop: asyncio.AbstractEventLoop, expected: int
    ) -> None:
        """`expected` is the length of the whole file in bytes, 0 where the caller does not know it."""
        self._requests, self._loop, self._expected = requests, loop, expected
        self._rest = memoryview(b"")
        self._bytes = 0
        self.abandoned = False  # the caller has left; set by the event loop, read there too

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            part = self._part()
            if part is None:
                if self._expected not in (0, self._bytes):
                    raise Malformed(f"{self._bytes} bytes came, the header says {self._expected}", field="header.bytes")
                return 0
            convert.refuse_unknown_fields(part)
            if part.WhichOneof("part") != "chunk":
                raise Malformed("the header comes once, and first", field="header")
            self._bytes += len(part.chunk)
            if self._bytes > MAX_IMPORT_BYTES:
                raise Malformed(f"more than {MAX_IMPORT_BYTES} bytes", field="chunk")
            self._rest = memoryview(part.chunk)
        taken = min(len(buffer), len(self._rest))
        buffer[:taken] = self._rest[:taken]
        self._rest = self._rest[taken:]
        return taken

    def _part(self) -> lists_pb2.ImportListRequest | None:
        coming = asyncio.run_coroutine_threadsafe(self._next(), self._loop)
        try:
            return coming.result(CHUNK_SECONDS)
        except TimeoutError as e:
            coming.cancel()
            raise Malformed(f"nothing came for {CHUNK_SECONDS:.0f} s; nothing was imported", field="chunk") from e

    async def _next(self) -> lists_pb2.ImportListRequest | None:
        part = await anext(self._requests, None)
        if part is None:
            # A caller who leaves ends the stream like one who has sent everything; that he left is told beside it.
            await asyncio.sleep(LEAVING_SECONDS)
        if self.abandoned:
            raise Malformed("the upload was broken off", field="chunk")
        return part
