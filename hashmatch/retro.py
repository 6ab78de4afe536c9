"""Judges sampled traffic of the past again, by what a list has now and had not then.

Each item that matches becomes a verdict of its own, decided and logged as any other and marked as made in retrospect.
What an item is known to match is kept with it, so nothing is told twice; only a crash between the verdict and that mark
can make it so.
"""

from __future__ import annotations

from collections.abc import Mapping

from hashmatch import clock, convert, verdict
from hashmatch.audit.ledger import Ledger
from hashmatch.errors import Refused
from hashmatch.index.generation import Hit, Segment
from hashmatch.index.live import LiveIndex
from hashmatch.lists import terms
from hashmatch.lists.reader import ListReader
from hashmatch.preflight import hashed, hits, segment_of
from hashmatch.store.lists import ListStore
from hashmatch.store.traffic import Traffic
from hashmatch.types import (
    Bits,
    Candidate,
    Coverage,
    Examination,
    Finding,
    Fingerprint,
    Hashed,
    Submission,
    Suppression,
)
from hashmatch.v1 import lists_pb2
from hashmatch.v1.audit_pb2 import VerdictRecord
from hashmatch.v1.store_pb2 import TrafficRecord, VersionRecord


class Retro:
    """Matches one list backwards."""

    def __init__(
        self,
        lists: ListReader,
        store: ListStore,
        live: LiveIndex,
        traffic: Traffic,
        ledger: Ledger,
        versions: Mapping[str, str],
    ) -> None:
        """`versions` are those of the software, for the record."""
        self._lists, self._store, self._live = lists, store, live
        self._traffic, self._ledger, self._versions = traffic, ledger, versions

    def match(self, asked: lists_pb2.RetroMatchListRequest) -> lists_pb2.RetroMatchListResponse:
        """How many items were judged again, and the verdicts on those that match.

        Raises:
            NotFound: no such list or version.
            Refused: nothing is active, or nothing was before it and no version is named.
            StoreFull, StoreFailed: a verdict could not be written; those before it are.
        """
        terms.text(asked.reason, "reason")
        with self._store.view() as view:
            record = view.list(asked.name)
            if not record.active_version:
                raise Refused(f"nothing is active in '{asked.name}'")
            now = view.version(record.list_number, record.active_version)
            since = asked.since_version or now.activated_after
            before = view.version(record.list_number, since) if since else None
            # From the store, not from a generation: on the command line none is loaded.
            suppressed = {
                (one.list, one.entry_id): convert.suppression_from_wire(one)
                for one in view.suppressions(record.list_number)
            }
        segment = segment_of(self._store, self._live, record, now)
        added: dict[Fingerprint, bool] = {}
        answer = lists_pb2.RetroMatchListResponse()
        for slot, item in self._traffic.items():
            answer.items += 1
            fingerprints = hashed(item)
            known = set(item.matched)
            found = [
                (hit, named)
                for hit in hits(segment, fingerprints)
                if self._was_added(added, segment, before, hit.listed)
                and (named := f"{asked.name}/{self._lists.entry_ids(asked.name, hit.listed)}") not in known
                and (not asked.entry_id or named == f"{asked.name}/{asked.entry_id}")
            ]
            if found:
                verdict_id = self._judge(segment, item, fingerprints, [hit for hit, _ in found], suppressed)
                if verdict_id:
                    answer.verdict_ids.append(verdict_id)
                    self._traffic.mark(slot, [named for _, named in found])
        return answer

    def _was_added(
        self, added: dict[Fingerprint, bool], segment: Segment, before: VersionRecord | None, listed: Fingerprint
    ) -> bool:
        if listed not in added:
            old = before and self._store.entry(segment.number, before, listed.hash_type, listed.value)
            added[listed] = old is None
        return added[listed]

    def _judge(
        self,
        segment: Segment,
        item: TrafficRecord,
        fingerprints: list[Hashed],
        found: list[Hit],
        suppressed: Mapping[tuple[str, str], Suppression],
    ) -> str:
        """The id of the verdict on one item, once it is on disk; "" where nothing counts."""
        subject = convert.subject_from_wire(item.subject)
        submission = Submission(request_id="", fingerprints=tuple(fingerprints), subject=subject, given_id=False)
        decided = verdict.decide(
            verdict_id=clock.new_id("v"),
            request_id="",
            at=clock.now(),
            examination=Examination(hashed=tuple(fingerprints)),
            coverage=Coverage(segment.state.revision, segment.state.entries, (segment.state,), self._versions),
            candidates=[self._candidate(segment, hit) for hit in found],
            found=len(found),
            subject=subject,
            input_digest=item.verdict_id.encode(),
            suppressions=suppressed,
            held=self._ledger.held(),
        )
        if decided.finding is not Finding.MATCH:
            return ""
        record = self._marked(convert.verdict_to_record(decided, submission, b""), segment, item)
        self._ledger.append(record, log=True, remember=False).result()
        return record.verdict_id

    @staticmethod
    def _marked(record: VerdictRecord, segment: Segment, item: TrafficRecord) -> VerdictRecord:
        record.retro.list = segment.state.name
        record.retro.version = segment.state.version
        record.retro.first_judged_at.CopyFrom(item.at)
        return record

    def _candidate(self, segment: Segment, hit: Hit) -> Candidate:
        entry = segment.record(hit.listed, self._store)
        return Candidate(
            list=segment.state.name,
            entry_id=self._lists.entry_ids(segment.state.name, hit.listed),
            label=entry.label,
            hash_type=hit.listed.hash_type,
            distance=Bits(hit.distance),
            variant=hit.query.variant,
            frame_ms=hit.query.frame_ms,
            expires_at=convert.moment(entry.expires_at) if entry.HasField("expires_at") else None,
        )
