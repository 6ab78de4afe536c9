"""Signed notes and checkpoints, against the published example and what must not verify."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.audit import note
from hashmatch.audit.note import Checkpoint, Signer, VerifierKey, parse_note, verified
from hashmatch.errors import Malformed

VECTOR = json.loads((Path(__file__).parent.parent / "vectors" / "signed_note.json").read_text())
KEY, WITNESS = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
SIGNER = Signer("log.example/one", KEY)
CHECKPOINT = Checkpoint("log.example/one", 42, bytes(range(32)))
TEXT = CHECKPOINT.text()
NOTE = TEXT + b"\n" + SIGNER.sign(TEXT)


def test_published_note() -> None:
    key = VerifierKey.parse(VECTOR["key"])
    assert str(key) == VECTOR["key"]
    found = parse_note(VECTOR["note"].encode())
    assert verified(found, [key]) == [key]
    assert found.text.count(b"\n") == 2


def test_our_own_lines_are_of_that_form() -> None:
    assert VerifierKey.parse(SIGNER.verifier_key) == SIGNER.verifier
    assert verified(parse_note(NOTE), [SIGNER.verifier]) == [SIGNER.verifier]
    assert Checkpoint.parse(parse_note(NOTE).text) == CHECKPOINT


def test_a_strangers_signature_is_left_aside() -> None:
    stranger = Signer("other.example", WITNESS)
    both = NOTE + stranger.sign(TEXT)
    assert verified(parse_note(both), [SIGNER.verifier]) == [SIGNER.verifier]
    assert verified(parse_note(both), [stranger.verifier, SIGNER.verifier]) == [SIGNER.verifier, stranger.verifier]
    assert verified(parse_note(NOTE), [stranger.verifier]) == []


def test_a_witness_says_when() -> None:
    line = note.cosign("witness.example", WITNESS, TEXT, 1_760_000_000)
    key = VerifierKey("witness.example", note.COSIGNATURE, WITNESS.public_key().public_bytes_raw())
    found = parse_note(NOTE + line)
    assert verified(found, [SIGNER.verifier, key]) == [SIGNER.verifier, key]
    assert note.cosigned_at(found.signatures[1]) == 1_760_000_000
    with pytest.raises(Malformed):  # another time under the same signature
        later = found.signatures[1]._replace(signature=bytes(8) + found.signatures[1].signature[8:])
        verified(note.Note(TEXT, (later,)), [key])


def test_an_unknown_algorithm_is_a_strangers() -> None:
    key = VerifierKey("later.example", 0x06, bytes(1312))
    assert VerifierKey.parse(str(key)) == key
    assert verified(parse_note(NOTE), [key]) == []


@given(st.integers(0, 8 * len(TEXT) - 1))
def test_no_bit_of_the_text_may_differ(bit: int) -> None:
    changed = bytearray(NOTE)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        found = parse_note(bytes(changed))
    except Malformed:
        return
    with pytest.raises(Malformed):
        verified(found, [SIGNER.verifier])


@pytest.mark.parametrize(
    "bad",
    [
        b"", b"text", b"text\n", TEXT, NOTE[:-1], NOTE.replace(b"\n\n", b"\n"), NOTE + b"more\n", NOTE + b"\n",
        NOTE.replace(b"42", b"4\t2"), TEXT + b"\n" + "\u2014 name\n".encode(), TEXT + b"\n" + "\u2014 a b c\n".encode(),
        TEXT + b"\n" + "\u2014 na+me AAAAAAAA\n".encode(), TEXT + b"\n" + "\u2014 name AAAA\n".encode(),
        TEXT + b"\n\xff\n", TEXT + b"\n" + SIGNER.sign(TEXT) * 101,
    ],
)  # fmt: skip
def test_what_is_no_note(bad: bytes) -> None:
    with pytest.raises(Malformed):
        parse_note(bad)


@pytest.mark.parametrize(
    "bad",
    [
        "", "name", "name+00000000+AAAA", "name+zz+AAAA", SIGNER.verifier_key.replace("one", "two"),
        SIGNER.verifier_key[:-4], str(VerifierKey("short.example", note.ED25519, bytes(31))), "a b+00000000+AAAA",
    ],
)  # fmt: skip
def test_what_is_no_key(bad: str) -> None:
    with pytest.raises(Malformed):
        VerifierKey.parse(bad)


@pytest.mark.parametrize(
    "bad", [b"", b"origin\n", b"origin\n042\nAAAA\n", b"origin\n-1\nAAAA\n", b"origin\nx\nAAAA\n", b"\n1\nAAAA\n"]
)
def test_what_is_no_checkpoint(bad: bytes) -> None:
    with pytest.raises(Malformed):
        Checkpoint.parse(bad)


def test_extension_lines_are_left_aside() -> None:
    assert Checkpoint.parse(TEXT + b"more\n") == CHECKPOINT


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b"])
def test_names_that_no_key_has(name: str) -> None:
    with pytest.raises(Malformed):
        Signer(name, KEY)
