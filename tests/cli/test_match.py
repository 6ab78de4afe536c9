"""`hashmatch match`: how answers are printed."""

from __future__ import annotations

import json

import pytest

from hashmatch.cli import match
from hashmatch.v1 import common_pb2
from hashmatch.v1.match_pb2 import MatchResponse


def answer() -> MatchResponse:
    made = MatchResponse(finding=common_pb2.FINDING_MATCH, disposition=common_pb2.DISPOSITION_REVIEW)
    made.matches.add(list="a", entry_id="e1", label="B2\x1b[0m", hash_type="pdq", distance=3, threshold=31, held=True)
    made.matches.add(list="b", entry_id="e2", hash_type="md5", variant="flip", frame_ms=40, shadow=True)
    aside = made.set_aside.add(reason=common_pb2.SET_ASIDE_REASON_OUTSIDE_ROLLOUT, why="10 of 1000\x1b items")
    aside.match.list, aside.match.entry_id, aside.match.hash_type = "c", "e3", "pdq"
    aside.match.distance, aside.match.threshold = 5, 20
    made.hashed.add(hash_type="phash", unhashable=common_pb2.UNHASHABLE_REASON_LOW_QUALITY)
    return made


def test_every_match_is_printed_and_what_did_not_count_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    match._print("photo.jpg", answer(), False)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert [" ".join(line.split()) for line in lines] == [
        "MATCH review photo.jpg",
        "a: pdq 3 of 31 bits, entry e1 B2\\x1b[0m, held",
        "b: md5 0 of 0 bits, entry e2, flip, at 40 ms, shadow",
        "set aside, outside rollout: c: pdq 5 of 20 bits, entry e3; 10 of 1000\\x1b items",
        "phash not searched: low_quality",
    ]


def test_json_holds_the_whole_answer(capsys: pytest.CaptureFixture[str]) -> None:
    match._print("photo.jpg", answer(), True)
    told = json.loads(capsys.readouterr().out)
    assert [one["reason"] for one in told["set_aside"]] == ["SET_ASIDE_REASON_OUTSIDE_ROLLOUT"]
    assert [one.get("held", False) for one in told["matches"]] == [True, False]
