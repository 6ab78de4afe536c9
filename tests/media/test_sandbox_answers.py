"""The language of worker and parent: what is written reads back, and nothing else reads at all."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hashmatch.errors import Malformed
from hashmatch.media import protocol
from hashmatch.types import Examination, Fingerprint, Hashed, Reason, Unhashable, Wanted

BYTES = {"pdq": 32, "phash": 8}
BOTH = Wanted(("pdq", "sha256", "phash"))

texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=protocol.MAX_TEXT)
numbers = st.integers(0, protocol.MAX_NUMBER)


def hashed(hash_type: str) -> st.SearchStrategy[tuple[Hashed, ...]]:
    value = st.binary(min_size=BYTES[hash_type], max_size=BYTES[hash_type])
    one = st.builds(
        Hashed, st.builds(Fingerprint, st.just(hash_type), value), st.none() | st.integers(0, 100), texts, numbers
    )
    return st.lists(one, min_size=1, max_size=4).map(tuple)


@st.composite
def examinations(draw: st.DrawFn) -> Examination:
    """Each wanted hash type hashed, unhashable, or both."""
    fingerprints: list[Hashed] = []
    missed: list[Unhashable] = []
    for hash_type in BYTES:
        ends = draw(st.sampled_from(["hashed", "unhashable", "both"]))
        if ends != "unhashable":
            fingerprints += draw(hashed(hash_type))
        if ends != "hashed":
            missed.append(Unhashable(hash_type, draw(st.sampled_from(Reason))))
    width, height, frames = draw(numbers), draw(numbers), draw(numbers)
    return Examination(draw(texts), width, height, frames, tuple(fingerprints), tuple(missed))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["pdq", "00" * 32, "md5"]),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=30,
)


def encoded(content: object) -> bytes:
    return json.dumps(content).encode()


@given(examinations())
def test_an_examination_reads_back(examination: Examination) -> None:
    body = encoded(protocol.examination_to_json(examination))
    assert len(body) < protocol.MAX_ANSWER_BYTES
    assert protocol.examination_from_json(body, BOTH, BYTES) == examination


@given(st.lists(texts).map(tuple), st.frozensets(texts))
def test_what_is_wanted_reads_back(hash_types: tuple[str, ...], variants: frozenset[str]) -> None:
    wanted = Wanted(hash_types, variants)
    for digests in (True, False):
        asked = protocol.wanted_to_json(wanted, digests=digests)
        assert protocol.wanted_from_json(asked) == (wanted, digests)


def test_digests_read_back() -> None:
    digests = tuple(Hashed(Fingerprint(name, bytes(length))) for name, length in protocol.DIGEST_BYTES.items())
    assert protocol.digests_from_json(encoded(protocol.digests_to_json(digests))) == digests


@given(examinations(), st.data())
def test_an_examination_with_one_part_replaced_is_refused_or_keeps_its_promise(
    examination: Examination, data: st.DataObject
) -> None:
    content = json.loads(encoded(protocol.examination_to_json(examination)))
    part = content
    while isinstance(part, list) and part:
        index = data.draw(st.integers(0, len(part) - 1))
        if not isinstance(part[index], list) or not part[index] or data.draw(st.booleans()):
            part[index] = data.draw(anything)
            break
        part = part[index]
    _read(encoded(content))


@pytest.mark.parametrize(
    ("hashed", "unhashable"),
    [
        ([], [["pdq", "undecodable"]]),  # nothing of phash
        ([], [["pdq", "undecodable"], ["pdq", "too_large"], ["phash", "too_large"]]),  # two reasons
        ([["phash", "00" * 8, None, "", 0]], [["pdq", "undecodable"], ["dhash", "too_large"]]),  # not wanted
        ([["phash", "00" * 8, None, "", 0]], [["pdq", "undecodable"], ["sha256", "too_large"]]),  # never unhashable
    ],
)
def test_an_answer_is_about_each_wanted_hash_type_and_no_other(hashed: object, unhashable: object) -> None:
    with pytest.raises(Malformed):
        protocol.examination_from_json(encoded(["", 0, 0, 0, hashed, unhashable]), BOTH, BYTES)


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40))), st.integers(1, 9))
def test_messages_are_taken_whole_however_they_arrive(sent: list[tuple[int, bytes]], step: int) -> None:
    stream = b"".join(protocol.HEAD.pack(kind, len(body)) + body for kind, body in sent)
    received, taken = bytearray(), []
    for at in range(0, len(stream), step):
        received += stream[at : at + step]
        while message := protocol.take_message(received):
            taken.append(message)
    assert taken == sent
    assert received == b""


def test_a_message_that_is_too_long_is_refused_by_its_head() -> None:
    with pytest.raises(Malformed):
        protocol.take_message(bytearray(protocol.HEAD.pack(protocol.EXAMINED, protocol.MAX_ANSWER_BYTES + 1)))


@given(st.binary() | anything.map(encoded))
@example(b"[" * 100_000)
@example(b"9" * 100_000)
@example(b'"\\ud800"')
def test_nonsense_is_malformed(body: bytes) -> None:
    _read(body)
    with pytest.raises(Malformed):
        protocol.digests_from_json(body)


def _read(body: bytes) -> None:
    """Reads what must be either refused or right in every part."""
    try:
        found = protocol.examination_from_json(body, BOTH, BYTES)
    except Malformed:
        return
    assert {h.fingerprint.hash_type for h in found.hashed} | {u.hash_type for u in found.unhashable} == set(BYTES)
    assert len({u.hash_type for u in found.unhashable}) == len(found.unhashable)
    assert all(len(h.fingerprint.value) == BYTES[h.fingerprint.hash_type] for h in found.hashed)
    assert all(type(n) is int and 0 <= n <= protocol.MAX_NUMBER for n in (found.width, found.height, found.frames))
    assert all(h.quality is None or 0 <= h.quality <= 100 for h in found.hashed)
    assert all(type(text) is str and text.isascii() for text in (found.media_type, *(h.variant for h in found.hashed)))


@pytest.mark.parametrize(
    "rows",
    [
        [["md5", "00" * 16], ["sha1", "00" * 20]],
        [["md5", "00" * 16], ["sha1", "00" * 20], ["sha1", "00" * 20]],
        [["md5", "00" * 16], ["sha1", "00" * 20], ["sha256", "00" * 31]],
        [["md5", "00" * 16], ["sha1", "00" * 20], ["sha512", "00" * 64]],
        [["md5", "zz" * 16], ["sha1", "00" * 20], ["sha256", "00" * 32]],
        [["md5", "00" * 16], ["sha1", "00" * 20], ["sha256", "00" * 32], ["pdq", "00" * 32]],
    ],
)
def test_digests_are_exactly_those_three(rows: object) -> None:
    with pytest.raises(Malformed):
        protocol.digests_from_json(encoded(rows))


def test_only_reasons_are_reasons() -> None:
    assert protocol.reason_from_json(b'"too_large"') is Reason.TOO_LARGE
    for body in (b'"toolarge"', b"1", b"[]", b""):
        with pytest.raises(Malformed):
            protocol.reason_from_json(body)
