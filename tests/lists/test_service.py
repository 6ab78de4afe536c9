"""ListService over a real connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import closing
from functools import partial
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from hashmatch import app
from hashmatch.access.callers import Callers
from hashmatch.access.credentials import Credentials
from hashmatch.audit.ledger import Ledger
from hashmatch.config import Settings
from hashmatch.index.recipe import Recipe
from hashmatch.lists.keeper import ListKeeper
from hashmatch.lists.proposals import Proposals
from hashmatch.server import imports, lists
from hashmatch.server.gate import Gate
from hashmatch.server.lists import ListServicer
from hashmatch.server.metrics import Metrics
from hashmatch.server.tracing import Tracing
from hashmatch.store.lists import ListStore
from hashmatch.trials import Trials
from hashmatch.v1 import common_pb2, lists_pb2, lists_pb2_grpc

Talk = Callable[[Callable[[Any], Awaitable[Any]]], Any]


@pytest.fixture
def talk(keeper: ListKeeper, store: ListStore, recipes: Mapping[str, Recipe]) -> Talk:
    """Runs a conversation with a served ListService."""

    async def converse(conversation: Callable[[Any], Awaitable[Any]]) -> Any:
        with closing(Ledger(store.state)) as ledger, closing(Credentials(store.state)) as credentials:
            gate = Gate(Callers(credentials, auth="open"), Metrics(), Tracing(Settings(state=store.state)))
            server = grpc.aio.server(interceptors=[gate])
            live = app.live_index(store, Settings(state=store.state), recipes, keeper.entry_ids)
            trials = Trials(keeper, store, live, None, ledger, {})
            proposals = Proposals(store, keeper, release=partial(app.release, ledger))
            servicer = ListServicer(keeper, trials, proposals, state=store.state)
            return await served(server, servicer, conversation)

    async def served(server: Any, servicer: ListServicer, conversation: Callable[[Any], Awaitable[Any]]) -> Any:
        lists_pb2_grpc.add_ListServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                return await conversation(lists_pb2_grpc.ListServiceStub(channel))
        finally:
            await server.stop(None)
            assert await servicer.close(5)

    return lambda conversation: asyncio.run(converse(conversation))


def parts(header: lists_pb2.ImportHeader, chunks: Iterable[bytes]) -> list[lists_pb2.ImportListRequest]:
    return [
        lists_pb2.ImportListRequest(header=header),
        *(lists_pb2.ImportListRequest(chunk=chunk) for chunk in chunks),
    ]


def header(**more: Any) -> lists_pb2.ImportHeader:
    return lists_pb2.ImportHeader(name="ours", format=lists_pb2.IMPORT_FORMAT_HEX, **more)


def test_the_way_of_a_list(talk: Talk, fingerprint, hex_file) -> None:
    entries = [fingerprint(i, "md5") for i in range(10_000)]
    text = hex_file(entries)

    async def conversation(stub: Any) -> None:
        policy = lists_pb2.Policy(thresholds={"pdq": 20}, disposition=common_pb2.DISPOSITION_BLOCK)
        made = await stub.CreateList(lists_pb2.CreateListRequest(name="ours", operator="op", policy=policy))
        assert (made.list.policy, made.list.revision) == (policy, 1)
        chunks = [text[i : i + 65_537] for i in range(0, len(text), 65_537)]
        done = await stub.ImportList(iter(parts(header(origin="a.hex"), chunks)))
        assert (done.version, done.accepted, done.diff.added, done.activated) == (1, 10_000, 10_000, False)
        staged = await stub.DiffList(lists_pb2.DiffListRequest(name="ours"))
        assert (staged.from_version, staged.to_version, staged.diff.added) == (0, 1, 10_000)
        active = await stub.ActivateList(lists_pb2.ActivateListRequest(name="ours", reason="checked"))
        assert active.list.active_version == 1
        assert active.list.versions[0].created_by == "anonymous"
        one = fingerprint(77_777)
        wire = common_pb2.Fingerprint(hash_type="pdq", value=one.value)
        added = await stub.AddEntry(lists_pb2.AddEntryRequest(name="ours", fingerprint=wire, label="L", reason="r"))
        found = await stub.LookUpEntry(lists_pb2.LookUpEntryRequest(fingerprint=wire))
        assert [(e.list, e.entry) for e in found.entries] == [("ours", added.entry)]
        which = lists_pb2.RemoveEntryRequest(name="ours", entry_id=added.entry.entry_id, reason="r")
        assert (await stub.RemoveEntry(which)).revision == added.revision + 1
        which = lists_pb2.RemoveEntryRequest(name="ours", reason="r")
        which.fingerprint.CopyFrom(common_pb2.Fingerprint(hash_type="md5", value=entries[5].value))
        await stub.RemoveEntry(which)
        back = await stub.RollBackList(lists_pb2.RollBackListRequest(name="ours", version=1))
        assert back.list.active_version == 1
        changed = await stub.SetPolicy(lists_pb2.SetPolicyRequest(name="ours", policy=lists_pb2.Policy(shadow=True)))
        assert changed.list.policy.shadow
        assert (await stub.GetList(lists_pb2.GetListRequest(name="ours"))).list == changed.list
        everything = await stub.ListLists(lists_pb2.ListListsRequest())
        assert (list(everything.lists), everything.revision) == ([changed.list], changed.list.revision)
        pages = [page async for page in stub.ExportList(lists_pb2.ExportListRequest(name="ours"))]
        assert {e.fingerprint.value for page in pages for e in page.entries} == {f.value for f in entries}
        assert all(page.ByteSize() < 1 << 20 for page in pages)

    talk(conversation)


@pytest.mark.parametrize(
    ("requests", "field"),
    [
        ([], "header"),
        ([lists_pb2.ImportListRequest(chunk=b"00")], "header"),
        ([lists_pb2.ImportListRequest()], "header"),
        (parts(header(), [b"00"]) * 2, "header"),
        (parts(header(hash_type="md6"), [b"00"]), "hash_type"),
        (parts(lists_pb2.ImportHeader(name="ours"), [b"00"]), "format"),
        (parts(header(bytes=66), [b"00"]), "header.bytes"),
    ],
)
def test_imports_that_are_refused(talk: Talk, ours: object, requests: list[Any], field: str) -> None:
    assert refused(talk, lambda stub: stub.ImportList(iter(requests))) == ("INVALID_ARGUMENT", field)


@pytest.mark.parametrize(
    ("method", "request_", "expected"),
    [
        ("CreateList", lists_pb2.CreateListRequest(name="A"), ("INVALID_ARGUMENT", "name")),
        ("CreateList", lists_pb2.CreateListRequest(name="ours"), ("ALREADY_EXISTS", "")),
        ("GetList", lists_pb2.GetListRequest(name="x" * 1_000_000), ("NOT_FOUND", "")),
        ("GetList", lists_pb2.GetListRequest.FromString(b"\x7a\x01x"), ("INVALID_ARGUMENT", "request")),
        ("SetPolicy", lists_pb2.SetPolicyRequest(name="ours"), ("INVALID_ARGUMENT", "policy")),
        ("ActivateList", lists_pb2.ActivateListRequest(name="ours"), ("FAILED_PRECONDITION", "")),
        ("ActivateList", lists_pb2.ActivateListRequest(name="ours", version=7), ("NOT_FOUND", "")),
        ("RollBackList", lists_pb2.RollBackListRequest(name="ours"), ("FAILED_PRECONDITION", "")),
        ("AddEntry", lists_pb2.AddEntryRequest(name="ours"), ("INVALID_ARGUMENT", "fingerprint.hash_type")),
        ("RemoveEntry", lists_pb2.RemoveEntryRequest(name="ours"), ("INVALID_ARGUMENT", "which")),
        ("LookUpEntry", lists_pb2.LookUpEntryRequest(), ("INVALID_ARGUMENT", "fingerprint.hash_type")),
        ("DiffList", lists_pb2.DiffListRequest(name="ours", to_version=4_000_000_000), ("NOT_FOUND", "")),
    ],
)
def test_requests_that_are_refused(talk: Talk, ours: object, method: str, request_: Any, expected: tuple) -> None:
    assert refused(talk, lambda stub: getattr(stub, method)(request_)) == expected


def test_an_export_that_is_refused(talk: Talk, ours: object) -> None:
    async def conversation(stub: Any) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            async for _ in stub.ExportList(lists_pb2.ExportListRequest(name="ours")):
                pass
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION

    talk(conversation)


def test_rejects_hold_an_activation_up_unless_the_caller_allows_them(
    talk: Talk, ours: object, hex_file, fingerprint
) -> None:
    file = hex_file([fingerprint(1)]) + b"zz\n"

    async def conversation(stub: Any) -> None:
        asked = header(activate=True, bytes=len(file))
        held = await stub.ImportList(iter(parts(asked, [file[:10], file[10:]])))
        assert (held.version, held.activated, held.rejected) == (1, False, 1)
        asked.allow_rejects = True
        assert (await stub.ImportList(iter(parts(asked, [file])))).activated

    talk(conversation)


def test_an_import_whose_sender_leaves_changes_nothing(
    talk: Talk, ours: object, keeper: ListKeeper, store, hex_file, fingerprint
) -> None:
    mark = store.mark()

    async def conversation(stub: Any) -> None:
        sent = asyncio.Event()

        async def requests() -> AsyncIterator[lists_pb2.ImportListRequest]:
            for part in parts(header(activate=True), [hex_file([fingerprint(1)])]):
                yield part
            sent.set()
            await asyncio.Event().wait()

        call = stub.ImportList(requests())
        await sent.wait()
        await asyncio.sleep(0.1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        # Others are served meanwhile and afterwards.
        assert (await stub.ListLists(lists_pb2.ListListsRequest())).lists[0].active_version == 0

    talk(conversation)
    assert store.mark() == mark


def test_silent_imports_hold_up_no_call_and_end(
    talk: Talk, ours: object, store, hex_file, fingerprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "CHUNK_SECONDS", 2.0)
    mark = store.mark()

    async def silent() -> AsyncIterator[lists_pb2.ImportListRequest]:
        for part in parts(header(activate=True), [hex_file([fingerprint(1)])]):
            yield part
        await asyncio.Event().wait()

    async def conversation(stub: Any) -> None:
        calls = [stub.ImportList(silent()) for _ in range(6)]
        ended = asyncio.gather(*calls, return_exceptions=True)
        wire = common_pb2.Fingerprint(hash_type="pdq", value=fingerprint(1).value)
        for _ in range(8):
            assert not (await stub.LookUpEntry(lists_pb2.LookUpEntryRequest(fingerprint=wire))).entries
        assert not ended.done()
        errors = await ended
        codes = sorted(error.code().name for error in errors)
        assert codes == ["INVALID_ARGUMENT"] * 2 + ["RESOURCE_EXHAUSTED"] * 4
        assert all(
            error.details() == "chunk: nothing came for 2 s; nothing was imported"
            for error in errors
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT
        )
        busy = next(error for error in errors if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED)
        retry = error_details_pb2.RetryInfo()
        assert any(detail.Unpack(retry) for detail in rpc_status.from_call(busy).details)
        assert retry.retry_delay.seconds == imports.RETRY_SECONDS
        assert store.mark() == mark
        done = await stub.ImportList(iter(parts(header(activate=True), [hex_file([fingerprint(1)])])))
        assert done.activated

    talk(conversation)


def test_calls_beyond_the_bound_are_refused_at_once(
    talk: Talk, ours: object, store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MAX_CALLS", 5)

    async def conversation(stub: Any) -> None:
        policy = lists_pb2.SetPolicyRequest(name="ours", policy=lists_pb2.Policy(shadow=True))
        with store.env.write():  # holds every change up
            calls = [stub.SetPolicy(policy) for _ in range(7)]
            ended = [asyncio.ensure_future(asyncio.wait_for(call, 5)) for call in calls]
            done, _ = await asyncio.wait(ended, timeout=0.5)
            codes = [task.exception().code().name for task in done]
            assert codes == ["RESOURCE_EXHAUSTED"] * 2
        changed = [task.result().list.policy.shadow for task in await settled(ended) if not task.exception()]
        assert changed == [True] * 5

    async def settled(tasks: list[Any]) -> list[Any]:
        await asyncio.wait(tasks)
        return tasks

    talk(conversation)


def test_an_entry_of_poor_quality_is_refused(talk: Talk, ours: object, fingerprint) -> None:
    wire = common_pb2.Fingerprint(hash_type="pdq", value=fingerprint(1).value, quality=0)
    asked = lists_pb2.AddEntryRequest(name="ours", fingerprint=wire, reason="r")
    assert refused(talk, lambda stub: stub.AddEntry(asked)) == ("INVALID_ARGUMENT", "fingerprint.quality")


def refused(talk: Talk, call: Callable[[Any], Awaitable[Any]]) -> tuple[str, str]:
    """The status of a call, and the field that its details name."""

    async def conversation(stub: Any) -> tuple[str, str]:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call(stub)
        field = ""
        for detail in rpc_status.from_call(error.value).details:
            violations = error_details_pb2.BadRequest()
            if detail.Unpack(violations):
                field = violations.field_violations[0].field
        return error.value.code().name, field

    return talk(conversation)
