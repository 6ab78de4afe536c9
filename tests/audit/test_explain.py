"""A verdict in words: nothing that decided it is left out."""

from __future__ import annotations

from hashmatch.audit.explain import explain
from hashmatch.v1 import common_pb2
from hashmatch.v1.audit_pb2 import Event, VerdictRecord


def judged() -> VerdictRecord:
    made = VerdictRecord(verdict_id="v_1", finding=common_pb2.FINDING_MATCH, disposition=2)
    made.at.FromJsonString("2026-03-01T12:00:00Z")
    made.matches.add(list="a", entry_id="e1", hash_type="pdq", distance=3, threshold=31, disposition=4, held=True)
    for reason, why in (
        (common_pb2.SET_ASIDE_REASON_SUPPRESSED, "suppressed by ann"),
        (common_pb2.SET_ASIDE_REASON_BENIGN, "known-benign list nsrl, entry e9"),
    ):
        aside = made.set_aside.add(reason=reason, why=why)
        aside.match.list, aside.match.entry_id, aside.match.hash_type = "b", "e2", "md5"
    for name, more in (("a", {}), ("b", {"outside_rollout": True, "out_of_scope": True}), ("nsrl", {"benign": True})):
        made.coverage.lists.add(list=name, revision=3, version=1, entries=5, **more)
    made.policies["a"].disposition = common_pb2.DISPOSITION_BLOCK
    made.policies["b"].disposition = common_pb2.DISPOSITION_REVIEW
    made.policies["b"].rollout_permille = 0
    made.policies["nsrl"].disposition = common_pb2.DISPOSITION_ALLOW
    return made


def lines(made: VerdictRecord) -> list[str]:
    return [line.strip() for line in explain(Event(sequence=1, verdict=made))]


def test_what_did_not_count_stands_below_what_did() -> None:
    told = lines(judged())
    at = told.index("matches: 1")
    assert told[at : at + 5] == [
        "matches: 1",
        (
            "a: entry e1, pdq distance 3 of at most 31; the list asks for BLOCK; held for matching many uploaders, "
            "so it asks for no more than REVIEW"
        ),
        "set aside: 2",
        "b: entry e2, md5 equal; SUPPRESSED: suppressed by ann",
        "b: entry e2, md5 equal; BENIGN: known-benign list nsrl, entry e9",
    ]


def test_every_list_says_whether_it_counted_for_this_item() -> None:
    told = lines(judged())
    at = told.index("a: version 1 of revision 3, 5 entries, equality, asks for BLOCK")
    assert told[at + 1 : at + 3] == [
        (
            "b: version 1 of revision 3, 5 entries, equality, asks for REVIEW, rolled out to 0 of 1000 items, "
            "this item is outside its rollout, not for this surface or region"
        ),
        "nsrl: version 1 of revision 3, 5 entries, equality, known-benign: sets others aside",
    ]


def test_a_verdict_on_media_of_the_past_says_so() -> None:
    made = judged()
    assert not any("judged again" in line for line in lines(made))
    made.retro.list, made.retro.version = "a", 7
    made.retro.first_judged_at.FromJsonString("2026-02-01T12:00:00Z")
    again = "judged again at 2026-03-01T12:00:00Z by a version 7; first at 2026-02-01T12:00:00Z"
    assert again in lines(made)


def test_what_is_not_known_here_is_shown_as_its_number() -> None:
    made = judged()
    made.set_aside[0].reason = 77
    assert "b: entry e2, md5 equal; 77: suppressed by ann" in lines(made)
