"""Verdicts computed again from their records, as they were then or by what is active now; every difference is told.

As then: a record names the version of every list and the policy that it was judged under. Those versions are read from
the store and searched by the code that judges, suppressions are taken from the change feed, and `decide` is asked
again. What the record says of the lists is held against the change feed, so that a record which agrees with itself and
not with the lists is found too. Fingerprints are the record's own, unless the media is given.

What a record cannot say is taken from it: which entries the collision guard held, and of equally near readings of one
frame the one that was named, where it is as near. A verdict in retrospect says only what was new to its item, so of
those the entries that it names are judged again, and not whether there were others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from hashmatch import clock, convert, question, verdict
from hashmatch.audit import differences
from hashmatch.convert import records
from hashmatch.errors import BadConfig, HashmatchError, Malformed, NotFound
from hashmatch.examine import examine
from hashmatch.hashing import variants
from hashmatch.hashing.registry import REGISTRY
from hashmatch.index.generation import Generation, Segment
from hashmatch.index.past import Past
from hashmatch.index.recipe import Recipe
from hashmatch.lists import claims
from hashmatch.lists.past import Lists
from hashmatch.store.lists import ListStore, ListView
from hashmatch.types import (
    EXACT_DIGESTS,
    WHOLE,
    Candidate,
    Coverage,
    Examination,
    Fingerprint,
    Hashed,
    ListState,
    Reason,
    Revision,
    Submission,
    Suppression,
    Wanted,
)
from hashmatch.v1.audit_pb2 import VerdictRecord
from hashmatch.v1.common_pb2 import ListRevision, Match
from hashmatch.v1.store_pb2 import ListRecord, VersionRecord

THEN, NOW = "recomputed", "today"

Suppressions = Mapping[tuple[str, str], Suppression]
"""By list and entry id."""

Entries = Collection[tuple[str, str]]
"""List and entry id of each."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of it."""

    verdict_id: str
    differences: tuple[str, ...] = ()  # of the answer; as then also of what was searched
    notes: tuple[str, ...] = ()  # what explains differences, or limits what was compared
    record: VerdictRecord | None = None  # as it was computed again
    unreplayable: str = ""  # why it could not be

    @property
    def same(self) -> bool:
        """Whether it was computed again, and nothing differs."""
        return not self.differences and not self.unreplayable


class _Unreplayable(HashmatchError):
    """The record does not say enough, or the lists no longer do."""


@dataclass(frozen=True, slots=True)
class _Question:
    """What a record says was asked, and of what."""

    record: VerdictRecord
    submission: Submission
    examination: Examination  # before `decide` marked anything
    input_digest: bytes | None  # None: the record does not say it

    def item(self, states: Iterable[ListState]) -> bytes:
        """The input digest for `decide`; any will do where no share of the traffic is drawn by it.

        Raises:
            _Unreplayable: it is wanted, and not known.
        """
        drawn = any(0 < state.policy.rollout_permille < WHOLE for state in states)
        if self.input_digest is None and drawn and not self.submission.subject.content_id:
            raise _Unreplayable("a list is rolled out by the digest of the input, which the record does not say")
        return self.input_digest or b""


class Replay:
    """Computes verdicts again. For one thread at a time; verdicts in their own order share what was read for them."""

    def __init__(
        self,
        store: ListStore,
        *,
        recipes: Mapping[str, Recipe],
        state_of: Callable[[ListRecord, VersionRecord], ListState],
        name_entry: Callable[[str, Fingerprint], str],
        versions: Mapping[str, str],
        examine: Callable[[bytes, Wanted], Examination] = examine,
    ) -> None:
        """`store` may be open for reading only; nothing is written.

        Args:
            state_of: what a stored list means under the recipes in force.
            name_entry: entry id of a keyed fingerprint in a list.
            versions: of the software, decoders and hashers that are here now.
            examine: decodes media, by default in this very process; where it may be hostile, give a sandbox's.
        """
        self._store, self._recipes, self._state_of, self._name_entry = store, recipes, state_of, name_entry
        self._versions, self._examine = versions, examine
        self._past = Past(store, recipes)
        self._lists = Lists()

    def as_then(self, record: VerdictRecord, *, held: Entries | None = None, media: bytes | None = None) -> Replayed:
        """The verdict by the lists, policies and suppressions of its time.

        Args:
            record: whole, what is sealed of it opened.
            held: what the log says the collision guard held then, where that is known.
            media: what was judged, where it is there: it is examined again and its fingerprints are compared.
        Raises:
            Malformed: the media is not what was judged.
            Corrupt: the lists are damaged.
        """
        try:
            asked = self._question(record)
            with self._store.view() as view:
                if record.coverage.revision > view.revision:
                    raise _Unreplayable(
                        f"it was judged at revision {record.coverage.revision}, and the lists here are at "
                        f"{view.revision}: they are not those it was judged by, or older"
                    )
                self._lists.follow(view)
                segments = [self._segment_then(view, listed, record) for listed in record.coverage.lists]
            states = [segment.state for segment in segments]
            coverage = Coverage(
                Revision(record.coverage.revision), _entries(states), tuple(states), dict(record.coverage.versions)
            )
            item = asked.item(states)
        except (_Unreplayable, NotFound, BadConfig, Malformed) as e:
            return Replayed(record.verdict_id, unreplayable=str(e))

        at = convert.moment(record.at)
        flagged = {(m.list, m.entry_id) for m in records.named(record) if m.held}

        def again(later: int) -> VerdictRecord:
            suppressions = claims.suppressed(self._lists, record.coverage, later)
            return self._decided(asked, segments, coverage, suppressions, flagged, item, at, logged=True)

        told = [*claims.contradictions(self._lists, record), *_of_question(asked)]
        notes = [
            *self._of_versions(record),
            *claims.other_defaults(record, self._recipes),
            *claims.mixed(record.coverage),
            *_of_held(record, held),
        ]
        if asked.input_digest is None and not told and not record.HasField("retro"):
            notes.append("the question's digest was not checked: fingerprints of low quality are not in the record")
        if media is not None:
            told += self._of_media(record, media)
        computed = again(0)
        found = _against(record, computed)
        for revision in claims.later(self._lists, record.coverage, at) if found else ():
            other = again(revision)
            if not _against(record, other):
                notes.append(f"a list was waiting for its snapshot: suppressions are those of revision {revision}")
                computed, found = other, []
                break
        return Replayed(record.verdict_id, (*told, *found), tuple(notes), computed)

    def as_now(self, record: VerdictRecord, *, held: Entries = frozenset(), at: datetime | None = None) -> Replayed:
        """What the lists that are active now say to the same fingerprints, under the policies of now.

        `differences` are of the answer alone; `notes` say which lists have changed.

        Args:
            record: whole, what is sealed of it opened.
            held: what the collision guard holds now.
            at: the present, by which entries and suppressions expire.
        Raises:
            Corrupt: the lists are damaged.
        """
        try:
            asked = self._question(record)
            with self._store.view() as view:
                self._lists.follow(view)
                active = {r.name: r for r in view.lists() if r.active_version}
                # A verdict in retrospect asked one list; so does this.
                names = list(record.asked_lists) or [one for one in [record.retro.list] if one] or list(active)
                for name in names:
                    if name not in active:
                        raise _Unreplayable(f"the list '{name}' that was asked is not active now")
                segments = [self._segment_now(view, active[name]) for name in names]
                revision = view.revision
            states = [segment.state for segment in segments]
            coverage = Coverage(revision, _entries(states), tuple(states), dict(record.coverage.versions))
            item = asked.item(states)
        except (_Unreplayable, NotFound, BadConfig, Malformed) as e:
            return Replayed(record.verdict_id, unreplayable=str(e))
        suppressions = claims.suppressed(self._lists, convert.coverage_to_wire(coverage))
        computed = self._decided(asked, segments, coverage, suppressions, held, item, at or clock.now(), logged=False)
        policies = {state.name: convert.policy_to_wire(state.policy) for state in states}
        notes = [
            *self._of_versions(record),
            *claims.since(record, computed.coverage, policies),
            *_of_variants(record, states),
        ]
        return Replayed(record.verdict_id, tuple(differences.of_answers(record, computed, NOW)), tuple(notes), computed)

    # ── what is asked ───────────────────────────────────────────────────────────────────────────────────────────────

    def _question(self, record: VerdictRecord) -> _Question:
        """What was asked.

        Raises:
            _Unreplayable, Malformed: the record does not have its fingerprints, or not such as can be searched.
        """
        if not records.is_whole(record):
            raise _Unreplayable("its fingerprints are sealed, and were not opened or have been erased")
        for one in records.fingerprints(record):
            recipe = self._recipes.get(one.fingerprint.hash_type)
            if recipe is not None and recipe.value_bytes not in (0, len(one.fingerprint.value)):
                raise _Unreplayable(f"a fingerprint of {recipe.hash_type} has not {recipe.value_bytes} bytes")
        subject = convert.subject_from_wire(record.subject)
        submission = Submission(record.request_id, subject=subject, lists=tuple(record.asked_lists))
        return _Question(record, submission, records.examination(record), question.input_digest_of(record))

    # ── what is searched ────────────────────────────────────────────────────────────────────────────────────────────

    def _segment_then(self, view: ListView, listed: ListRevision, record: VerdictRecord) -> Segment:
        of_list = view.list(listed.list)
        try:
            version = view.version(of_list.list_number, listed.version)
        except NotFound as e:
            raise _Unreplayable(f"list '{listed.list}': {e}") from e
        if listed.list not in record.policies:
            raise _Unreplayable(f"the record has no policy of list '{listed.list}'")
        for hash_type, bits in listed.thresholds.items():
            recipe = self._recipes.get(hash_type)
            if recipe is not None and bits > 8 * recipe.key_bytes:
                raise _Unreplayable(f"list '{listed.list}': a threshold of {bits} bits for {hash_type}")
        policy = convert.policy_from_wire(record.policies[listed.list])
        state = ListState(
            name=listed.list,
            revision=Revision(listed.revision),
            version=listed.version,
            policy=policy,
            # A type has a threshold where its recipe was switched on.
            entries={t: n for t, n in version.entries.items() if t in listed.thresholds},
            thresholds=dict(listed.thresholds),
            accepts=variants.expand(policy.variants),
        )
        return self._past.segment(view, of_list, version, state)

    def _segment_now(self, view: ListView, of_list: ListRecord) -> Segment:
        version = view.version(of_list.list_number, of_list.active_version)
        return self._past.segment(view, of_list, version, self._state_of(of_list, version))

    def _decided(
        self,
        asked: _Question,
        segments: Sequence[Segment],
        coverage: Coverage,
        suppressions: Suppressions,
        held: Entries,
        item: bytes,
        at: datetime,
        *,
        logged: bool,
    ) -> VerdictRecord:
        """The record of the verdict; where it is to be the `logged` one, equally near readings are as that has them."""
        record, hashed = asked.record, asked.examination.hashed
        by_name = {segment.state.name: segment for segment in segments}
        generation = Generation(coverage.revision, by_name, self._store, self._name_entry, suppressions)
        candidates, found = generation.search(hashed, segments)
        if logged:
            named = {(m.list, m.entry_id, m.hash_type): m for m in records.named(record)}
            candidates = [
                _as_named(c, named.get((c.list, c.entry_id, c.hash_type)), generation, by_name[c.list], hashed)
                for c in candidates
            ]
            if record.HasField("retro"):
                candidates = [c for c in candidates if (c.list, c.entry_id, c.hash_type) in named]
                found = len(candidates)
        decided = verdict.decide(
            verdict_id=record.verdict_id,
            request_id=record.request_id,
            at=at,
            subject=asked.submission.subject,
            input_digest=item,
            examination=asked.examination,
            coverage=coverage,
            candidates=candidates,
            found=found,
            suppressions=suppressions,
            held=held,
        )
        again = convert.verdict_to_record(decided, asked.submission, record.question_digest)
        again.media_bytes, again.case_id, again.no_case = record.media_bytes, record.case_id, record.no_case
        again.subject.CopyFrom(record.subject)
        if record.HasField("retro"):
            again.retro.CopyFrom(record.retro)
        return again

    # ── what explains differences ───────────────────────────────────────────────────────────────────────────────────

    def _of_versions(self, record: VerdictRecord) -> Iterator[str]:
        then, now = record.coverage.versions, self._versions
        for name in sorted({*then, *now}):
            one, other = then.get(name, "none"), now.get(name, "none")
            if one != other:
                yield f"version of {name}: {one} then, {other} here"

    # ── the media ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _of_media(self, record: VerdictRecord, media: bytes) -> Iterator[str]:
        """How its fingerprints differ from those that were logged."""
        logged = records.fingerprints(record)
        if question.of_media(logged) != question.input_digest(Submission("", media=media)):
            raise Malformed("it is not what was judged", field="media")
        types = dict.fromkeys(row.hash_type for row in record.hashed if row.hash_type not in EXACT_DIGESTS)
        asked = frozenset(name for policy in record.policies.values() for name in policy.variants)
        found = self._examine(media, Wanted(tuple(t for t in types if t in REGISTRY), asked)).hashed
        before, again = set(logged), {one for one in found if not self._low(one)}
        for one in sorted(before ^ again, key=_reading):
            said = f"logged, {THEN} another or none" if one in before else f"{THEN}, logged another or none"
            yield f"fingerprint: {one.fingerprint.hash_type}, reading '{one.variant}' at {one.frame_ms} ms: {said}"

    def _low(self, one: Hashed) -> bool:
        recipe = self._recipes.get(one.fingerprint.hash_type)
        least = recipe.min_quality if recipe else None
        return least is not None and one.quality is not None and one.quality < least


# ── what a record says ──────────────────────────────────────────────────────────────────────────────────────────────


def _of_question(asked: _Question) -> Iterator[str]:
    record = asked.record
    # Of a caller's own fingerprints those of low quality are left out of the record, and its digest was of all.
    left_out = not record.media_bytes and any(one.reason is Reason.LOW_QUALITY for one in asked.examination.unhashable)
    if asked.input_digest is None and not left_out and not record.HasField("retro"):
        yield "question digest: logged another than that of the input, the lists asked, the content and the uploader"


def _reading(one: Hashed) -> tuple[str, int, str]:
    return one.fingerprint.hash_type, one.frame_ms, one.variant


def _of_held(record: VerdictRecord, held: Entries | None) -> Iterator[str]:
    """Where the log says otherwise of what was held. A verdict is judged before it is logged, so that is no proof."""
    for match in records.named(record) if held is not None else ():
        by_log = (match.list, match.entry_id) in (held or ())
        if by_log != match.held:
            logged, other = ("", " not") if match.held else (" not", "")
            yield f"match {match.list}/{match.entry_id}: logged as{logged} held, by the log it was{other}"


def _of_variants(record: VerdictRecord, states: Iterable[ListState]) -> Iterator[str]:
    """What today's lists ask for and the media was not hashed into."""
    asked = {name for policy in record.policies.values() for name in policy.variants}
    if record.media_bytes:
        for state in states:
            if missing := state.policy.variants - asked:
                yield f"list {state.name}: asks for {', '.join(sorted(missing))} now, and the media was not hashed so"


# ── comparing ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _entries(states: Iterable[ListState]) -> dict[str, int]:
    found: dict[str, int] = {}
    for state in states:
        for hash_type, count in state.entries.items():
            found[hash_type] = found.get(hash_type, 0) + count
    return found


def _against(logged: VerdictRecord, again: VerdictRecord) -> list[str]:
    return [
        *differences.of_answers(logged, again, THEN),
        *differences.of_coverage(logged.coverage, again.coverage, THEN),
    ]


def _as_named(
    candidate: Candidate, match: Match | None, generation: Generation, segment: Segment, hashed: Sequence[Hashed]
) -> Candidate:
    """The candidate by the reading that the record names, where that is as near."""
    if match is None or (match.variant, match.frame_ms) == (candidate.variant, candidate.frame_ms):
        return candidate
    reading = [
        h
        for h in hashed
        if (h.fingerprint.hash_type, h.variant, h.frame_ms) == (match.hash_type, match.variant, match.frame_ms)
    ]
    for other in generation.search(reading, [segment])[0]:
        if (other.entry_id, other.distance) == (candidate.entry_id, candidate.distance):
            return other
    return candidate
