"""Trying lists on traffic: before a version is activated (preflight.py), and after it was (retro.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hashmatch.audit.ledger import Ledger
from hashmatch.errors import Refused
from hashmatch.index.live import LiveIndex
from hashmatch.lists.reader import ListReader
from hashmatch.preflight import preflight
from hashmatch.retro import Retro
from hashmatch.store.lists import ListStore
from hashmatch.store.traffic import Traffic
from hashmatch.v1 import lists_pb2


@dataclass(frozen=True, slots=True)
class Trials:
    """What is needed for both. For any thread."""

    lists: ListReader
    store: ListStore
    live: LiveIndex
    traffic: Traffic | None  # None: none is kept
    ledger: Ledger
    versions: Mapping[str, str]  # of the software, for the record

    def preflight(self, asked: lists_pb2.PreflightListRequest) -> lists_pb2.PreflightListResponse:
        """As `preflight.preflight`.

        Raises:
            Refused: also where no traffic is kept.
            Unavailable: the server stops.
        """
        return preflight(self.lists, self.store, self.live, self._traffic(), asked)

    def retro_match(self, asked: lists_pb2.RetroMatchListRequest) -> lists_pb2.RetroMatchListResponse:
        """As `Retro.match`.

        Raises:
            Refused: also where no traffic is kept.
            Unavailable: the server stops.
        """
        retro = Retro(self.lists, self.store, self.live, self._traffic(), self.ledger, self.versions)
        return retro.match(asked)

    def stop(self) -> None:
        """Ends those under way: they raise Unavailable, and the verdicts that a retro-match has made stay."""
        if self.traffic is not None:
            self.traffic.stop()

    def _traffic(self) -> Traffic:
        if self.traffic is None:
            raise Refused("no sample of traffic is kept: the setting traffic_sample is 0")
        return self.traffic
