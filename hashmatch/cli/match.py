"""`hashmatch match`."""

from __future__ import annotations

import argparse
import asyncio
import io
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager

from google.protobuf.json_format import MessageToDict

from hashmatch import app, client, clock, convert
from hashmatch.audit import explain
from hashmatch.cli import format, media, options
from hashmatch.cli.verbs import Verbs, verb
from hashmatch.errors import Malformed
from hashmatch.lists.formats import Reject
from hashmatch.lists.formats import hex as hex_format
from hashmatch.lists.formats.lines import Lines
from hashmatch.v1 import common_pb2, match_pb2
from hashmatch.v1.common_pb2 import Finding

EXAMPLE = """\
example:
  hashmatch match photo.jpg --server 127.0.0.1:50051
  hashmatch match --recursive uploads/ --json
  hashmatch hash photo.jpg | hashmatch match --fingerprints -

Without --server it opens the state directory itself. Exit code: 1 something matched; 65 nothing
matched and a file could not be read; 3 nothing matched and something is UNKNOWN; 0 nothing matched."""


def add_parser(verbs: Verbs) -> None:
    parser = verb(
        verbs, "match", run, "judge media against the active lists", EXAMPLE,
        description="Judge media against the active hash lists; every MATCH is recorded first.",
        parents=[options.server()],
    )  # fmt: skip
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="files, folders with --recursive, '-' for standard input"
    )
    parser.add_argument("--recursive", action="store_true", help="walk folders")
    parser.add_argument(
        "--fingerprints", action="store_true", help="PATHs hold `hash_type fingerprint` lines, not media"
    )
    parser.add_argument("--list", action="append", default=[], metavar="LIST", help="search only this list; repeatable")
    parser.add_argument("--surface", default="", help="where the media came from, for the record")
    parser.add_argument("--walls", choices=("required", "available"), help="see `hashmatch serve --help`")


def run(args: argparse.Namespace) -> int:
    refused: list[str] = []
    limit = args.settings.max_media_bytes
    found = media.read(args.paths, recursive=args.recursive, limit=limit, refused=refused)
    findings = asyncio.run(_match(args, _requests(args, found)))
    if Finding.FINDING_MATCH in findings:
        return 1
    if refused:
        return Malformed.exit_code
    return 3 if Finding.FINDING_UNKNOWN in findings else 0


def _fingerprints(name: str, file: bytes) -> Iterator[common_pb2.Fingerprint]:
    for row in hex_format.read(Lines(io.BytesIO(file)), "pdq"):
        try:
            if isinstance(row, Reject):
                raise ValueError(row.why)
            text = row.text if isinstance(row.text, str) else row.text.decode("ascii")
            yield common_pb2.Fingerprint(hash_type=row.hash_type, value=bytes.fromhex(text))
        except ValueError as e:
            raise Malformed(f"{name}, line {row.line}: not a fingerprint in hexadecimal") from e


def _requests(
    args: argparse.Namespace, found: Iterable[tuple[str, bytes]]
) -> Iterable[tuple[str, match_pb2.MatchRequest]]:
    subject = common_pb2.Subject(surface=args.surface)
    for name, given in found:
        request = match_pb2.MatchRequest(lists=args.list, subject=subject)
        if args.fingerprints:
            request.fingerprints.fingerprints.extend(_fingerprints(name, given))
        else:
            request.media = given
        yield name, request


async def _match(args: argparse.Namespace, requests: Iterable[tuple[str, match_pb2.MatchRequest]]) -> set[int]:
    findings: set[int] = set()
    async with aclosing(_answers(args, requests)) as answers:
        async for name, answer in answers:
            findings.add(answer.finding)
            _print(name, answer, args.json)
    return findings


async def _answers(
    args: argparse.Namespace, requests: Iterable[tuple[str, match_pb2.MatchRequest]]
) -> AsyncGenerator[tuple[str, match_pb2.MatchResponse], None]:
    async with _judge(args) as judge:
        async for name, answer in media.in_order(requests, judge, args.settings.workers):
            yield name, answer


@asynccontextmanager
async def _judge(
    args: argparse.Namespace,
) -> AsyncIterator[Callable[[match_pb2.MatchRequest], Awaitable[match_pb2.MatchResponse]]]:
    """What answers a request: a server, or the state directory opened here."""
    if args.server:
        async with client.AsyncClient(args.server, **options.reach(args)) as remote:
            yield remote.ask
        return
    async with app.running(media.settings_for(args), spares=0) as service:
        await service.follower.ready()

        async def judge(request: match_pb2.MatchRequest) -> match_pb2.MatchResponse:
            submission = convert.submission_from_wire(request, request_id=clock.new_id("r"), widths=service.widths)
            return convert.record_to_response(await service.pipeline.judge(submission))

        yield judge


def _print(name: str, answer: match_pb2.MatchResponse, as_json: bool) -> None:
    if as_json:
        format.emit({"path": name, **MessageToDict(answer, preserving_proto_field_name=True)})
        return
    finding = Finding.Name(answer.finding).removeprefix("FINDING_")
    disposition = common_pb2.Disposition.Name(answer.disposition).removeprefix("DISPOSITION_").lower()
    print(f"{format.colour(f'{finding:<8}', COLOURS[answer.finding])}  {disposition:<8}  {format.plain(name)}")
    for match in answer.matches:
        print(f"          {_entry(match)}{', shadow' if match.shadow else ''}{', held' if match.held else ''}")
    for aside in answer.set_aside:
        reason = explain.set_aside_reason(aside.reason).lower().replace("_", " ")
        print(f"          set aside, {reason}: {_entry(aside.match)}; {format.plain(aside.why)}")
    for row in answer.hashed:
        if row.unhashable:
            reason = common_pb2.UnhashableReason.Name(row.unhashable).removeprefix("UNHASHABLE_REASON_")
            print(f"          {row.hash_type} not searched: {reason.lower()}")


def _entry(match: common_pb2.Match) -> str:
    how = f", {match.variant}" if match.variant else ""
    when = f", at {match.frame_ms} ms" if match.frame_ms else ""
    label = f" {format.plain(match.label)}" if match.label else ""
    return (
        f"{match.list}: {match.hash_type} {match.distance} of {match.threshold} bits, "
        f"entry {match.entry_id}{label}{how}{when}"
    )


COLOURS = {Finding.FINDING_MATCH: "31", Finding.FINDING_UNKNOWN: "33", Finding.FINDING_NO_MATCH: "32"}
