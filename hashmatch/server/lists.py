"""ListService: wire in, wire out. No decisions here; blocking work is done on threads, so that verdicts go on."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import Any

import grpc

from hashmatch import convert
from hashmatch.errors import Malformed
from hashmatch.lists.keeper import ListKeeper
from hashmatch.types import Fingerprint
from hashmatch.v1 import common_pb2, lists_pb2, lists_pb2_grpc

MAX_IMPORT_BYTES = 8 << 30  # 100 M lines of the longest usual kind
READ_BYTES = 1 << 20  # of an import handed to the parser at once
LEAVING_SECONDS = 0.1  # between the end of a stream and the word that its sender was gone; both are in one queue
EXPORT_PAGE = 4096  # entries per message: about 600 KB, well below gRPC's 4 MB

Context = grpc.aio.ServicerContext[Any, Any]


class ListServicer(lists_pb2_grpc.ListServiceServicer):
    def __init__(self, keeper: ListKeeper) -> None:
        self._lists = keeper

    async def CreateList(self, request: lists_pb2.CreateListRequest, context: Context) -> lists_pb2.CreateListResponse:
        convert.refuse_unknown_fields(request)
        made = await asyncio.to_thread(
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
        return lists_pb2.GetListResponse(list=await asyncio.to_thread(self._lists.get, request.name))

    async def ListLists(self, request: lists_pb2.ListListsRequest, context: Context) -> lists_pb2.ListListsResponse:
        convert.refuse_unknown_fields(request)
        return await asyncio.to_thread(self._lists.all)

    async def SetPolicy(self, request: lists_pb2.SetPolicyRequest, context: Context) -> lists_pb2.SetPolicyResponse:
        convert.refuse_unknown_fields(request)
        if not request.HasField("policy"):
            raise Malformed("must be given", field="policy")
        changed = await asyncio.to_thread(
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
            return await asyncio.to_thread(
                self._lists.stage, header, file, by=_caller(context), allow_rejects=header.allow_rejects
            )
        except asyncio.CancelledError:
            chunks.abandoned = True
            raise

    async def DiffList(self, request: lists_pb2.DiffListRequest, context: Context) -> lists_pb2.DiffListResponse:
        convert.refuse_unknown_fields(request)
        return await asyncio.to_thread(self._lists.diff, request.name, request.from_version, request.to_version)

    async def ActivateList(
        self, request: lists_pb2.ActivateListRequest, context: Context
    ) -> lists_pb2.ActivateListResponse:
        convert.refuse_unknown_fields(request)
        changed = await asyncio.to_thread(
            self._lists.activate, request.name, request.version, reason=request.reason, by=_caller(context)
        )
        return lists_pb2.ActivateListResponse(list=changed)

    async def RollBackList(
        self, request: lists_pb2.RollBackListRequest, context: Context
    ) -> lists_pb2.RollBackListResponse:
        convert.refuse_unknown_fields(request)
        changed = await asyncio.to_thread(
            self._lists.roll_back, request.name, request.version, reason=request.reason, by=_caller(context)
        )
        return lists_pb2.RollBackListResponse(list=changed)

    async def AddEntry(self, request: lists_pb2.AddEntryRequest, context: Context) -> lists_pb2.AddEntryResponse:
        convert.refuse_unknown_fields(request)
        return await asyncio.to_thread(
            self._lists.add,
            request.name,
            _fingerprint(request.fingerprint),
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
        return await asyncio.to_thread(
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
        return await asyncio.to_thread(self._lists.look_up, _fingerprint(request.fingerprint))

    async def ExportList(
        self, request: lists_pb2.ExportListRequest, context: Context
    ) -> AsyncIterator[lists_pb2.ExportListResponse]:
        convert.refuse_unknown_fields(request)
        entries = await asyncio.to_thread(self._lists.export, request.name, request.version)
        while page := await asyncio.to_thread(_page, entries):
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
            part = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
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

    async def _next(self) -> lists_pb2.ImportListRequest | None:
        part = await anext(self._requests, None)
        if part is None:
            # A caller who leaves ends the stream like one who has sent everything; that he left is told beside it.
            await asyncio.sleep(LEAVING_SECONDS)
        if self.abandoned:
            raise Malformed("the upload was broken off", field="chunk")
        return part
