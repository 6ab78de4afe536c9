"""Random histories of one store against a dict: whatever was done, it holds what the dict holds."""

from __future__ import annotations

import io
import random
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hashmatch.app import list_state
from hashmatch.builder import build
from hashmatch.errors import Conflict, NotFound, Refused
from hashmatch.index.live import LiveIndex
from hashmatch.index.recipe import load_recipes
from hashmatch.lists import staging
from hashmatch.lists.keeper import ListKeeper
from hashmatch.store.check import Report, check_rows
from hashmatch.store.lists import ListStore
from hashmatch.types import Fingerprint, Hashed, Revision
from hashmatch.v1 import lists_pb2

NAMES = ("one", "two")


def _pool() -> list[Fingerprint]:
    chance = random.Random(7)
    found = []
    for hash_type, size in (("md5", 16), ("pdq", 32)):
        for _ in range(6):
            bits = [0, 1] * (size * 4)
            chance.shuffle(bits)
            found.append(Fingerprint(hash_type, int("".join(map(str, bits)), 2).to_bytes(size, "big")))
    return found


POOL = _pool()
Held = dict[Fingerprint, str]
rows = st.lists(st.tuples(st.sampled_from(POOL), st.sampled_from(["", "A", "B"])), min_size=1, max_size=12)


@dataclass
class Modelled:
    """A list as a dict would have it: what each version holds, and which was active before each."""

    versions: dict[int, Held] = field(default_factory=dict)
    active: int = 0
    before: dict[int, int] = field(default_factory=dict)  # of every version that was ever active
    merged_onto: dict[int, int] = field(default_factory=dict)
    removed: set[Fingerprint] = field(default_factory=set)  # by hand, and not added since

    def hold(self, held: Held) -> int:
        self.versions[len(self.versions) + 1] = held
        return len(self.versions)

    def now(self) -> Held:
        return self.versions.get(self.active, {})

    def activate(self, version: int) -> None:
        self.before.setdefault(version, self.active)
        self.active = version

    def may_activate(self, version: int) -> bool:
        lost = version not in self.before and self.merged_onto.get(version, self.active) != self.active
        return version != self.active and not lost


class Histories(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.usual = staging.FEW_EDITS, staging.PILED_PERMILLE
        staging.FEW_EDITS, staging.PILED_PERMILLE = 3, 500
        self.open()
        self.model = {name: Modelled() for name in NAMES}
        for name in NAMES:
            self.keeper.create(name, by="t")
        self.revision = len(NAMES)

    def open(self) -> None:
        state = Path(self.folder.name)
        self.store = ListStore(state)
        self.recipes = load_recipes()
        self.keeper = ListKeeper(self.store, self.recipes)
        # Few edits go a long way here, and lists of more than four entries have snapshots.
        self.live = LiveIndex(
            self.store,
            recipes=self.recipes,
            snapshots=state / "snapshots",
            state_of=lambda record, version: list_state(record, version, self.recipes),
            name_entry=self.keeper.entry_ids,
            small=4,
        )

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()
        staging.FEW_EDITS, staging.PILED_PERMILLE = self.usual

    @rule(name=st.sampled_from(NAMES), rows=rows, merge=st.booleans(), activate=st.booleans(), dry_run=st.booleans())
    def import_(
        self, name: str, rows: list[tuple[Fingerprint, str]], merge: bool, activate: bool, dry_run: bool
    ) -> None:
        model = self.model[name]
        text = "hash_type,fingerprint,label\n" + "".join(
            f"{f.hash_type},{f.value.hex()},{label}\n" for f, label in rows
        )
        header = lists_pb2.ImportHeader(
            name=name, format=lists_pb2.IMPORT_FORMAT_CSV, merge=merge, activate=activate, dry_run=dry_run
        )
        answer = self.keeper.stage(header, io.BytesIO(text.encode()), by="t")
        new: Held = {}
        for fingerprint, label in rows:
            new.setdefault(fingerprint, label)
        old = model.now()
        out = model.removed - old.keys()
        duplicates, held_back = len(rows) - len(new), len(new.keys() & out)
        new = {f: label for f, label in new.items() if f not in out}
        held = new
        if merge:
            held = {**old, **{f: label or old.get(f, "") for f, label in new.items()}}
        assert (answer.accepted, answer.duplicates, answer.held_back) == (len(new), duplicates, held_back)
        assert answer.diff == _diff(old, held)
        if dry_run or not new:
            assert not answer.version
            return
        self.revision += 1
        version = model.hold(held)
        assert (answer.version, answer.activated, answer.revision) == (version, activate, self.revision)
        if merge:
            model.merged_onto[version] = model.active
        if activate:
            model.activate(version)

    @rule(name=st.sampled_from(NAMES), number=st.integers(1, 6))
    def activate(self, name: str, number: int) -> None:
        model = self.model[name]
        try:
            self.keeper.activate(name, number, by="t")
        except NotFound:
            assert number not in model.versions
        except Refused:
            assert not model.may_activate(number)
        else:
            assert model.may_activate(number)
            model.activate(number)
            self.revision += 1

    @rule(name=st.sampled_from(NAMES))
    def roll_back(self, name: str) -> None:
        model = self.model[name]
        to = model.before.get(model.active, 0)
        try:
            self.keeper.roll_back(name, by="t")
        except Refused:
            assert not to
        else:
            model.active = to
            self.revision += 1

    @rule(name=st.sampled_from(NAMES), fingerprint=st.sampled_from(POOL), label=st.sampled_from(["", "C"]))
    def add(self, name: str, fingerprint: Fingerprint, label: str) -> None:
        model = self.model[name]
        try:
            answer = self.keeper.add(name, fingerprint, label=label, reason="r", by="t")
        except Conflict:
            assert fingerprint in model.now()
        else:
            assert fingerprint not in model.now()
            model.activate(model.hold({**model.now(), fingerprint: label}))
            model.removed.discard(fingerprint)
            self.revision += 1
            assert answer.revision == self.revision

    @rule(name=st.sampled_from(NAMES), fingerprint=st.sampled_from(POOL), by_id=st.booleans())
    def remove(self, name: str, fingerprint: Fingerprint, by_id: bool) -> None:
        model = self.model[name]
        which = self.keeper.entry_ids(name, fingerprint) if by_id else fingerprint
        try:
            answer = self.keeper.remove(name, which, reason="r", by="t")
        except NotFound:
            assert fingerprint not in model.now()
        else:
            assert answer.entry.label == model.now()[fingerprint]
            model.activate(model.hold({f: label for f, label in model.now().items() if f != fingerprint}))
            model.removed.add(fingerprint)
            self.revision += 1

    @precondition(lambda self: any(model.versions for model in self.model.values()))
    @rule(data=st.data())
    def diff(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([name for name, model in self.model.items() if model.versions]))
        versions = self.model[name].versions
        old, new = (data.draw(st.sampled_from(sorted(versions))) for _ in range(2))
        assert self.keeper.diff(name, old, new).diff == _diff(versions[old], versions[new])

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.open()

    @rule()
    def search(self) -> None:
        """What is followed finds what the model holds, once what it asks for is built."""
        for _ in range(4):
            generation = self.live.refresh()
            if generation is not None:
                self.live.publish(generation)
            for wanted in self.live.wanted:
                build(self.store, self.recipes, wanted.list_number, wanted.version)
                self.live.built(wanted.list_number)
            if not self.live.wanted:
                break
        assert not self.live.wanted
        assert self.live.generation.revision == self.revision
        for name, model in self.model.items():
            if not model.active:
                assert name not in self.live.generation.segments
                continue
            segment = self.live.generation.segments[name]
            found, total = self.live.generation.search([Hashed(f) for f in POOL], [segment])
            held = {(name, self.keeper.entry_ids(name, f), label) for f, label in model.now().items()}
            assert {(one.list, one.entry_id, one.label) for one in found} == held
            assert total == len(held)

    @rule()
    def verify(self) -> None:
        report = Report()
        check_rows(report, self.store)
        assert report.problems == []
        assert report.checked.get("versions", 0) == sum(len(model.versions) for model in self.model.values())
        with self.store.view() as view:
            changes = view.changes(Revision(0), 10_000)
        assert [change.revision for change in changes] == list(range(1, self.revision + 1))

    @rule(name=st.sampled_from(NAMES), number=st.integers(1, 6))
    def export(self, name: str, number: int) -> None:
        if number in self.model[name].versions:
            assert self._exported(name, number) == self.model[name].versions[number]

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        found = self.keeper.all()
        assert found.revision == self.revision
        for one in found.lists:
            model = self.model[one.name]
            assert one.active_version == model.active
            if model.active:
                assert self._exported(one.name, 0) == model.now()
                (active,) = [v for v in one.versions if v.version == model.active]
                assert sum(active.entries.values()) == len(model.now())

    def _exported(self, name: str, version: int) -> Held:
        return {
            Fingerprint(e.fingerprint.hash_type, e.fingerprint.value): e.label
            for e in self.keeper.export(name, version)
        }


def _diff(old: Held, new: Held) -> lists_pb2.Diff:
    both = old.keys() & new.keys()
    changed = sum(old[f] != new[f] for f in both)
    return lists_pb2.Diff(
        added=len(new.keys() - old.keys()),
        removed=len(old.keys() - new.keys()),
        changed=changed,
        unchanged=len(both) - changed,
    )


Histories.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None, derandomize=True)
TestHistories = Histories.TestCase
