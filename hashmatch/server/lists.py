"""ListService: wire in, wire out. No decisions here; blocking work is done on threads, so that verdicts go on.

The threads are this service's own, those of calls that read whole lists apart; imports have processes of their own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import grpc

from hashmatch import app, convert
from hashmatch.access.callers import CALLER
from hashmatch.errors import Malformed
from hashmatch.lists.keeper import ListKeeper
from hashmatch.lists.proposals import Proposals
from hashmatch.server.imports import Imports
from hashmatch.server.threads import Threads
from hashmatch.trials import Trials
from hashmatch.types import Fingerprint
from hashmatch.v1 import common_pb2, lists_pb2, lists_pb2_grpc
from hashmatch.v1.audit_pb2 import Event

EXPORT_PAGE = 4096  # entries per message: about 600 KB, well below gRPC's 4 MB
THREADS = 4  # for short calls: look-ups go on while one waits for the store's writer
MAX_CALLS = 64  # short calls at once, running or waiting for a thread: a second's worth
LONG_CALLS = 2  # at once, of those that read whole lists
CALL_RETRY_SECONDS, LONG_RETRY_SECONDS = 0.5, 10.0  # what a refused caller is told to wait

trace = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]


class ListServicer(lists_pb2_grpc.ListServiceServicer):
    def __init__(
        self, keeper: ListKeeper, trials: Trials, proposals: Proposals, *, state: Path, recipes: Path | None = None
    ) -> None:
        """Serves the lists of `state` under its own recipes, where `recipes` names some."""
        self._lists = keeper
        self._trials = trials
        self._proposals = proposals
        self._ledger = trials.ledger
        self._imports = Imports(state, recipes)
        self._short = Threads("calls", THREADS, MAX_CALLS, CALL_RETRY_SECONDS)
        self._long = Threads("searches", LONG_CALLS, LONG_CALLS, LONG_RETRY_SECONDS)

    async def close(self, seconds: float) -> bool:
        """Waits until no call uses the lists any more: one may outlive its caller, and the store must outlive it. False
        where one takes longer."""
        await self._imports.close()
        self._trials.stop()
        ended = await asyncio.gather(*(asyncio.to_thread(t.close, seconds) for t in (self._short, self._long)))
        return all(ended)

    async def CreateList(self, request: lists_pb2.CreateListRequest, context: Context) -> lists_pb2.CreateListResponse:
        convert.refuse_unknown_fields(request)
        made = await self._short.run(
            self._lists.create,
            request.name,
            operator=request.operator,
            purpose=request.purpose,
            policy=request.policy,
            by=_caller(),
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
        if proposal := await self._short.run(self._proposals.propose, request, by=_caller()):
            found = await self._short.run(self._lists.get, request.name)
            return lists_pb2.SetPolicyResponse(list=found, proposal=proposal)
        changed = await self._short.run(
            self._lists.set_policy, request.name, request.policy, reason=request.reason, by=_caller()
        )
        return lists_pb2.SetPolicyResponse(list=changed)

    async def ImportList(
        self, requests: AsyncIterator[lists_pb2.ImportListRequest], context: Context
    ) -> lists_pb2.ImportListResponse:
        first = await anext(requests, None)
        if first is None or first.WhichOneof("part") != "header":
            raise Malformed("the header comes first", field="header")
        convert.refuse_unknown_fields(first)
        return await self._imports.run(first.header, requests, _caller())

    async def DiffList(self, request: lists_pb2.DiffListRequest, context: Context) -> lists_pb2.DiffListResponse:
        convert.refuse_unknown_fields(request)
        return await self._short.run(self._lists.diff, request.name, request.from_version, request.to_version)

    async def ActivateList(
        self, request: lists_pb2.ActivateListRequest, context: Context
    ) -> lists_pb2.ActivateListResponse:
        convert.refuse_unknown_fields(request)
        changed = await self._short.run(
            self._lists.activate,
            request.name,
            request.version,
            reason=request.reason,
            allow_rejects=request.allow_rejects,
            by=_caller(),
        )
        return lists_pb2.ActivateListResponse(list=changed)

    async def RollBackList(
        self, request: lists_pb2.RollBackListRequest, context: Context
    ) -> lists_pb2.RollBackListResponse:
        convert.refuse_unknown_fields(request)
        if proposal := await self._short.run(self._proposals.propose, request, by=_caller()):
            found = await self._short.run(self._lists.get, request.name)
            return lists_pb2.RollBackListResponse(list=found, proposal=proposal)
        changed = await self._short.run(
            self._lists.roll_back, request.name, request.version, reason=request.reason, by=_caller()
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
            source=request.source,
            notes=request.notes,
            expires_at=convert.moment_in(request, "expires_at"),
            reason=request.reason,
            by=_caller(),
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
            by=_caller(),
        )

    async def LookUpEntry(
        self, request: lists_pb2.LookUpEntryRequest, context: Context
    ) -> lists_pb2.LookUpEntryResponse:
        convert.refuse_unknown_fields(request)
        # Near ones are sought in every entry of every list, so they have threads of their own.
        threads = self._long if request.within else self._short
        return await threads.run(self._lists.look_up, _fingerprint(request.fingerprint), request.within)

    async def ExportList(
        self, request: lists_pb2.ExportListRequest, context: Context
    ) -> AsyncIterator[lists_pb2.ExportListResponse]:
        convert.refuse_unknown_fields(request)
        entries = await self._short.run(self._lists.export, request.name, request.version)
        event = Event()
        said = event.list_exported
        said.list, said.version, said.by, said.how = request.name, request.version, _caller(), "ExportList"
        await asyncio.shield(asyncio.wrap_future(self._ledger.record(event)))  # only then it is given away
        while page := await self._short.run(_page, entries):
            yield lists_pb2.ExportListResponse(entries=page)

    async def BrowseEntries(
        self, request: lists_pb2.BrowseEntriesRequest, context: Context
    ) -> lists_pb2.BrowseEntriesResponse:
        convert.refuse_unknown_fields(request)
        return await self._short.run(self._lists.browse, request)

    async def GetEntryHistory(
        self, request: lists_pb2.GetEntryHistoryRequest, context: Context
    ) -> lists_pb2.GetEntryHistoryResponse:
        convert.refuse_unknown_fields(request)
        by_value = request.HasField("fingerprint")
        which = _fingerprint(request.fingerprint) if by_value else request.entry_id
        threads = self._short if by_value else self._long
        found = await threads.run(self._lists.history, request.name, which)
        counted = self._ledger.entry_count(request.name, found.entry.entry_id)
        if counted is not None:
            found.matches.CopyFrom(convert.match_count_to_wire(counted))
        return found

    async def GetImportReport(
        self, request: lists_pb2.GetImportReportRequest, context: Context
    ) -> lists_pb2.GetImportReportResponse:
        convert.refuse_unknown_fields(request)
        found = await self._short.run(self._lists.report, request.name, request.version)
        return lists_pb2.GetImportReportResponse(report=found)

    async def SuppressEntry(
        self, request: lists_pb2.SuppressEntryRequest, context: Context
    ) -> lists_pb2.SuppressEntryResponse:
        convert.refuse_unknown_fields(request)
        if proposal := await self._short.run(self._proposals.propose, request, by=_caller()):
            return lists_pb2.SuppressEntryResponse(proposal=proposal)
        return await self._short.run(
            self._lists.suppress,
            request.name,
            request.entry_id,
            reason=request.reason,
            approver=request.approver,
            expires_at=convert.moment_in(request, "expires_at"),
            by=_caller(),
        )

    async def LiftSuppression(
        self, request: lists_pb2.LiftSuppressionRequest, context: Context
    ) -> lists_pb2.LiftSuppressionResponse:
        convert.refuse_unknown_fields(request)
        return await self._short.run(
            self._lists.lift_suppression, request.name, request.entry_id, reason=request.reason, by=_caller()
        )

    async def ListSuppressions(
        self, request: lists_pb2.ListSuppressionsRequest, context: Context
    ) -> lists_pb2.ListSuppressionsResponse:
        convert.refuse_unknown_fields(request)
        found = await self._short.run(self._lists.suppressions, request.name)
        return lists_pb2.ListSuppressionsResponse(suppressions=found)

    async def ReleaseEntry(
        self, request: lists_pb2.ReleaseEntryRequest, context: Context
    ) -> lists_pb2.ReleaseEntryResponse:
        convert.refuse_unknown_fields(request)
        if not request.reason.strip():
            raise Malformed("must be given, for the record", field="reason")
        if proposal := await self._short.run(self._proposals.propose, request, by=_caller()):
            return lists_pb2.ReleaseEntryResponse(proposal=proposal)
        doing = partial(
            app.release, self._ledger, request.name, request.entry_id, by=_caller(), reason=request.reason.strip()
        )
        await self._short.run(doing)
        trace.warning("entry %s of '%s' was released by %s", request.entry_id, request.name, _caller())
        counted = self._ledger.entry_count(request.name, request.entry_id)
        return lists_pb2.ReleaseEntryResponse(matches=convert.match_count_to_wire(counted) if counted else None)

    async def PreflightList(
        self, request: lists_pb2.PreflightListRequest, context: Context
    ) -> lists_pb2.PreflightListResponse:
        convert.refuse_unknown_fields(request)
        return await self._long.run(self._trials.preflight, request)

    async def RetroMatchList(
        self, request: lists_pb2.RetroMatchListRequest, context: Context
    ) -> lists_pb2.RetroMatchListResponse:
        convert.refuse_unknown_fields(request)
        return await self._long.run(self._trials.retro_match, request)

    async def ListProposals(
        self, request: lists_pb2.ListProposalsRequest, context: Context
    ) -> lists_pb2.ListProposalsResponse:
        convert.refuse_unknown_fields(request)
        waiting = await self._short.run(self._proposals.waiting, request.name)
        return lists_pb2.ListProposalsResponse(proposals=waiting)

    async def ApproveProposal(
        self, request: lists_pb2.ApproveProposalRequest, context: Context
    ) -> lists_pb2.ApproveProposalResponse:
        convert.refuse_unknown_fields(request)
        done = await self._short.run(self._proposals.approve, request.id, by=_caller())
        return lists_pb2.ApproveProposalResponse(proposal=done)

    async def WithdrawProposal(
        self, request: lists_pb2.WithdrawProposalRequest, context: Context
    ) -> lists_pb2.WithdrawProposalResponse:
        convert.refuse_unknown_fields(request)
        gone = await self._short.run(self._proposals.withdraw, request.id, by=_caller())
        return lists_pb2.WithdrawProposalResponse(proposal=gone)


def _page(entries: Iterator[lists_pb2.Entry]) -> list[lists_pb2.Entry]:
    return list(islice(entries, EXPORT_PAGE))


def _fingerprint(given: common_pb2.Fingerprint) -> Fingerprint:
    return Fingerprint(given.hash_type, given.value)


def _caller() -> str:
    """Who calls, for the record. Anonymous callers are one person, so they cannot approve one another."""
    return CALLER.get().name
