"""Policies as they are told of: what is proposed, what was in force and when, and the text of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from hashmatch import convert
from hashmatch.v1.cases_pb2 import POLICY_STATE_PROPOSED, PolicyRecord, PolicyState


@dataclass(frozen=True, slots=True)
class Proposal:
    """A policy that waits for a second person."""

    version: str
    by: str
    reason: str
    at: str = ""  # ISO 8601

    def record(self) -> PolicyRecord:
        """As the wire has it."""
        return record(POLICY_STATE_PROPOSED, {"version": self.version, "by": self.by, "reason": self.reason}, self.at)


@dataclass(frozen=True, slots=True)
class Shown:
    """A policy, and what waits to take its place."""

    text: str
    version: str
    meaning: str  # "": this version of hashmatch cannot read it
    proposal: Proposal | None


def record(state: PolicyState.ValueType, said: Mapping[str, str], at: str) -> PolicyRecord:
    """How a version came into force or is proposed, as the wire has it."""
    told = PolicyRecord(
        state=state, version=said["version"], by=said["by"], approver=said.get("approver", ""), reason=said["reason"]
    )
    if at:
        told.at.CopyFrom(convert.timestamp(datetime.fromisoformat(at)))
    return told
