"""Wire and types: what goes out comes back the same, and what is not valid is refused with its field."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from judging import HASHED, candidate, decide, state

from hashmatch import convert
from hashmatch.errors import Malformed
from hashmatch.types import (
    Disposition,
    Examination,
    Finding,
    Fingerprint,
    Hashed,
    Policy,
    Reason,
    SetAsideReason,
    Subject,
    Submission,
    Suppression,
    TrustTier,
    Unhashable,
)
from hashmatch.v1 import common_pb2, lists_pb2, match_pb2
from hashmatch.v1.store_pb2 import EntryCountRecord

short = st.text(max_size=20)
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))
subjects = st.builds(
    Subject,
    content_id=short,
    uploader_id=short,
    surface=short,
    region=short,
    occurred_at=st.none() | moments,
    attributes=st.dictionaries(short, short, max_size=4),
)
policies = st.builds(
    Policy,
    thresholds=st.dictionaries(short, st.integers(0, 48), max_size=4),
    disposition=st.sampled_from(Disposition),
    shadow=st.booleans(),
    variants=st.frozensets(short, max_size=3),
    trust=st.sampled_from(TrustTier),
    benign=st.booleans(),
    rollout_permille=st.integers(0, 1000),
    rollout_seed=short,
    surfaces=st.frozensets(short, max_size=3),
    regions=st.frozensets(short, max_size=3),
    refresh_seconds=st.integers(0, 2**40),
    two_person=st.booleans(),
    collision_uploaders=st.integers(0, 2**31),
)
suppressions = st.builds(
    Suppression,
    list=short,
    entry_id=short,
    reason=short,
    by=short,
    approver=short,
    created_at=moments,
    expires_at=st.none() | moments,
)
hashed = st.builds(
    Hashed,
    fingerprint=st.builds(Fingerprint, hash_type=short, value=st.binary(max_size=32)),
    quality=st.none() | st.integers(0, 100),
    variant=st.sampled_from(["", "flip", "stored"]),
    frame_ms=st.integers(0, 2**31),
)


@given(subjects)
def test_subjects_come_back(subject):
    assert convert.subject_from_wire(convert.subject_to_wire(subject)) == subject


@given(policies)
def test_policies_come_back(policy):
    assert convert.policy_from_wire(convert.policy_to_wire(policy)) == policy


@given(suppressions)
def test_suppressions_come_back(suppression):
    assert convert.suppression_from_wire(convert.suppression_to_wire(suppression)) == suppression


@given(st.lists(hashed, max_size=5), st.lists(st.builds(Unhashable, short, st.sampled_from(Reason)), max_size=3))
def test_examinations_keep_everything_and_the_plain_reading_comes_first(found, absent):
    examination = Examination(hashed=tuple(found), unhashable=tuple(absent))
    rows = convert.examination_to_wire(examination, every_variant=True)
    told = [(r.hash_type, r.fingerprint.value, r.variant, r.frame_ms) for r in rows if not r.unhashable]
    ordered = sorted(found, key=lambda h: h.variant != "")
    assert told == [(h.fingerprint.hash_type, h.fingerprint.value, h.variant, h.frame_ms) for h in ordered]
    assert [(r.hash_type, r.unhashable) for r in rows if r.unhashable] == [
        (u.hash_type, convert.REASON_TO_WIRE[u.reason]) for u in absent
    ]
    plain = convert.examination_to_wire(examination, every_variant=False)
    assert plain == [row for row in rows if not row.variant]


def test_the_wires_numbers_are_ours():
    assert len(convert.FINDING_TO_WIRE) == len(Finding) == len(common_pb2.Finding.values()) - 1
    for finding, wire in convert.FINDING_TO_WIRE.items():
        assert common_pb2.Finding.Name(wire) == f"FINDING_{finding.name}"
    for disposition in Disposition:
        wire = convert.disposition_to_wire(disposition)
        assert common_pb2.Disposition.Name(wire) == f"DISPOSITION_{disposition.name}"
    for wire, ours, prefix in (
        (common_pb2.SetAsideReason, SetAsideReason, "SET_ASIDE_REASON_"),
        (lists_pb2.TrustTier, TrustTier, "TRUST_TIER_"),
    ):
        told = {name: number for name, number in wire.items() if number or ours is TrustTier}
        assert told == {f"{prefix}{one.name}": one.value for one in ours}
    assert len(convert.REASON_TO_WIRE) == len(Reason) == len(common_pb2.UnhashableReason.values()) - 1


def test_a_policy_without_disposition_asks_for_review_and_a_wild_one_is_refused():
    assert convert.policy_from_wire(lists_pb2.Policy()).disposition is Disposition.REVIEW
    with pytest.raises(Malformed) as refused:
        convert.policy_from_wire(lists_pb2.Policy(disposition=9))
    assert refused.value.field == "policy.disposition"
    with pytest.raises(Malformed) as refused:
        convert.policy_from_wire(lists_pb2.Policy(trust=9))
    assert refused.value.field == "policy.trust"


def test_a_list_of_known_benign_media_allows():
    assert convert.policy_from_wire(lists_pb2.Policy(benign=True)).disposition is Disposition.ALLOW


def test_what_a_policy_does_not_say_is_all_of_the_traffic_and_the_usual_guard():
    policy = convert.policy_from_wire(lists_pb2.Policy())
    assert (policy.rollout_permille, policy.collision_uploaders) == (1000, 50)
    none = convert.policy_from_wire(lists_pb2.Policy(rollout_permille=0, collision_uploaders=0))
    assert (none.rollout_permille, none.collision_uploaders) == (0, 0)


def test_a_record_says_what_did_not_count_and_the_answer_says_the_same():
    states = [
        state("a", rollout_permille=0, rollout_seed="s", trust=TrustTier.VERIFIED),
        state("b", surfaces=frozenset({"mail"})),
        state("c", collision_uploaders=7),
        state("nsrl", Disposition.ALLOW, benign=True),
    ]
    found = decide(
        HASHED, states, [candidate(name, 3) for name in ("a", "b", "c")], subject=Subject(surface="chat"),
        held=frozenset({("c", "e1")}),
    )  # fmt: skip
    record = convert.verdict_to_record(found, Submission("r", subject=Subject(surface="chat")), bytes(32))
    assert [(m.list, m.held) for m in record.matches] == [("c", True)]
    assert [(one.match.list, common_pb2.SetAsideReason.Name(one.reason)) for one in record.set_aside] == [
        ("a", "SET_ASIDE_REASON_OUTSIDE_ROLLOUT"), ("b", "SET_ASIDE_REASON_OUT_OF_SCOPE"),
    ]  # fmt: skip
    told = {one.list: (one.outside_rollout, one.out_of_scope, one.benign) for one in record.coverage.lists}
    assert told == {
        "a": (True, False, False), "b": (False, True, False), "c": (False, False, False), "nsrl": (False, False, True),
    }  # fmt: skip
    assert {name: convert.policy_from_wire(policy) for name, policy in record.policies.items()} == {
        one.name: one.policy for one in states
    }
    answer = convert.record_to_response(record)
    assert (answer.set_aside, answer.coverage, answer.matches) == (record.set_aside, record.coverage, record.matches)


def test_a_match_count_tells_nobody_who_was_matched():
    counted = EntryCountRecord(matches=3, uploaders={"ab": 5})
    assert convert.match_count_to_wire(counted) == lists_pb2.MatchCount(matches=3)
    for name in ("first_at", "last_at", "held_since"):
        getattr(counted, name).FromJsonString("2026-01-01T00:00:00Z")
    told = convert.match_count_to_wire(counted)
    assert all(getattr(told, name) == counted.first_at for name in ("first_at", "last_at", "held_since"))


@given(st.binary(max_size=200))
def test_any_bytes_that_parse_are_a_submission_or_malformed(data):
    request = match_pb2.MatchRequest()
    with suppress(DecodeError):  # protobuf's own refusal, which gRPC answers
        request.ParseFromString(data)
    with suppress(Malformed):
        submission = convert.submission_from_wire(request, request_id="r", widths={"pdq": 32})
        assert (submission.media is None) != (not submission.fingerprints)


def test_unknown_fields_are_refused_wherever_they_stand():
    inner = common_pb2.Subject.FromString(b"\xf8\x07\x01")
    with pytest.raises(Malformed) as refused:
        convert.refuse_unknown_fields(match_pb2.MatchRequest(media=b"x", subject=inner))
    assert refused.value.field == "subject"
    assert "127" in str(refused.value)


def test_a_subject_that_is_too_long_is_refused_with_its_field():
    for name in ("content_id", "uploader_id", "surface", "region"):
        with pytest.raises(Malformed) as refused:
            convert.subject_from_wire(common_pb2.Subject(**{name: "x" * 513}))
        assert refused.value.field == f"subject.{name}"
    with pytest.raises(Malformed) as refused:
        convert.subject_from_wire(common_pb2.Subject(attributes={str(i): "" for i in range(33)}))
    assert refused.value.field == "subject.attributes"
