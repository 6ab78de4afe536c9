"""A store with lists to follow, and what follows it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hashmatch.app import list_state
from hashmatch.builder import DIRECTORY, build
from hashmatch.index.generation import Generation
from hashmatch.index.live import LiveIndex
from hashmatch.index.recipe import load_recipes
from hashmatch.lists.keeper import ListKeeper
from hashmatch.store.lists import ListStore
from hashmatch.types import Fingerprint, Hashed
from hashmatch.v1 import lists_pb2

SMALL = 50  # entries: larger lists have snapshots here


def fingerprint(number: int) -> Fingerprint:
    """A number's PDQ fingerprint, balanced as a real one is."""
    bits = np.random.default_rng(number).permutation(np.repeat(np.array([0, 1], np.uint8), 128))
    return Fingerprint("pdq", np.packbits(bits).tobytes())


class Followed:
    """Lists in a fresh state directory, and a live index over them."""

    fingerprint = staticmethod(fingerprint)

    def __init__(self, state: Path) -> None:
        self.state, self.recipes = state, load_recipes()
        self.store = ListStore(state)
        self.keeper = ListKeeper(self.store, self.recipes)
        self.live = self.opened()

    def opened(self) -> LiveIndex:
        return LiveIndex(
            self.store,
            recipes=self.recipes,
            snapshots=self.state / DIRECTORY,
            state_of=lambda record, version: list_state(record, version, self.recipes),
            name_entry=self.keeper.entry_ids,
            small=SMALL,
        )

    def stage(self, name: str, numbers: range, *, activate: bool = True, merge: bool = False) -> int:
        text = "".join(f"{fingerprint(number).value.hex()}\n" for number in numbers)
        header = lists_pb2.ImportHeader(name=name, format=lists_pb2.IMPORT_FORMAT_HEX, activate=activate, merge=merge)
        return self.keeper.stage(header, io.BytesIO(text.encode()), by="tests").version

    def refresh(self) -> Generation | None:
        """What is served after a look at the store."""
        generation = self.live.refresh()
        if generation is not None:
            self.live.publish(generation)
        return self.live.generation

    def build(self) -> None:
        """Builds what is wanted."""
        for wanted in self.live.wanted:
            build(self.store, self.recipes, wanted.list_number, wanted.version)
            self.live.built(wanted.list_number)

    def found(self, number: int, name: str) -> bool:
        generation = self.live.generation
        assert generation is not None
        return generation.search([Hashed(fingerprint(number))], [generation.segments[name]])[1] > 0


@pytest.fixture
def followed(tmp_path: Path) -> Iterator[Followed]:
    followed = Followed(tmp_path / "state")
    for name in ("large", "other"):
        followed.keeper.create(name, by="tests")
    yield followed
    followed.store.close()
