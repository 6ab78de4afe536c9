"""The bytes of events, which no refactoring may change: every kind, every field, against what was kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from hashmatch.audit.brief import brief
from hashmatch.v1.audit_pb2 import Event, SealedText, SealedVerdict

KEPT = Path(__file__).parent.parent / "vectors" / "events.json"
FACTS = [field.name for field in Event.DESCRIPTOR.oneofs_by_name["fact"].fields]
_DEPTH = 6  # of messages in messages


def filled(message: Message, depth: int = 0) -> Message:
    """A message with every field set, each by its number."""
    for field in message.DESCRIPTOR.fields:
        if field.containing_oneof is not None and field.containing_oneof.name == "fact":
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            value = field.message_type.fields_by_name["value"]
            for key in ("b", "a"):  # deterministic bytes have them in order
                if value.message_type is not None:
                    filled(getattr(message, field.name)[key], depth + 1)
                else:
                    getattr(message, field.name)[key] = scalar(value)
        elif field.message_type is not None:
            if depth < _DEPTH:
                of = getattr(message, field.name)
                filled(of.add() if field.is_repeated else of, depth + 1)
                if not field.is_repeated:
                    of.SetInParent()
        elif field.is_repeated:
            getattr(message, field.name).extend([scalar(field)] * 2)
        else:
            setattr(message, field.name, scalar(field))
    return message


def scalar(field: FieldDescriptor) -> object:
    """A value of a field's type that tells its number."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return bytes([field.number]) if field.type == FieldDescriptor.TYPE_BYTES else f"{field.name} ü"
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return field.enum_type.values[-1].number
    return True if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL else 100 + field.number


def made(name: str) -> Message:
    if name in ("sealed_verdict", "sealed_text"):
        return filled(SealedVerdict() if name == "sealed_verdict" else SealedText())
    event = filled(Event())
    assert isinstance(event, Event)
    filled(getattr(event, name), 1)
    return event


@pytest.mark.parametrize("name", [*FACTS, "sealed_verdict", "sealed_text"])
def test_the_bytes_are_those_of_ever(name: str) -> None:
    kept = json.loads(KEPT.read_text())["events"]
    message = made(name)
    assert message.SerializeToString(deterministic=True).hex() == kept[name]
    assert type(message).FromString(bytes.fromhex(kept[name])) == message


def test_what_was_written_before_a_kind_gained_a_field_is_read_and_written_as_ever() -> None:
    for name, written in json.loads(KEPT.read_text())["earlier"].items():
        for text in written:
            message = type(made(name)).FromString(bytes.fromhex(text))
            assert message.SerializeToString(deterministic=True).hex() == text
            now = getattr(made(name), name)
            assert all(getattr(now, field.name) == value for field, value in getattr(message, name).ListFields())


def test_nothing_was_taken_away() -> None:
    assert set(json.loads(KEPT.read_text())["events"]) == {*FACTS, "sealed_verdict", "sealed_text"}


@pytest.mark.parametrize("name", FACTS)
def test_every_kind_has_one_line(name: str) -> None:
    event = made(name)
    assert isinstance(event, Event)
    assert brief(event)
    assert "\n" not in brief(event)
