"""A delta on a base is a dict of what is listed, and an older one goes on answering as it did."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hashmatch.index.base import Base
from hashmatch.index.delta import Change, Delta

POOL = [bytes([number]) * 4 for number in range(12)]
changes = st.lists(st.dictionaries(st.sampled_from(POOL), st.booleans(), max_size=8), max_size=12)


def held(base: Base, delta: Delta) -> set[bytes]:
    """What base and delta list together, by searching for everything."""
    shown = {row.tobytes() for i, row in enumerate(base.rows) if i not in delta.hidden}
    query = np.frombuffer(b"".join(POOL), np.uint8).reshape(-1, 4)
    _, row, distance = delta.within(query, 0)
    assert (distance == 0).all()
    added = [delta.rows[r].tobytes() for r in row]
    assert len(added) == len(set(added)) == delta.added
    assert not shown & set(added)
    return shown | set(added)


@settings(max_examples=200, deadline=None)
@given(st.sets(st.sampled_from(POOL)), changes)
def test_every_delta_of_a_line_is_the_dict_of_its_moment(listed: set[bytes], several: list[dict[bytes, bool]]) -> None:
    base = Base.of_rows(np.frombuffer(b"".join(sorted(listed)), np.uint8).reshape(-1, 4))
    delta, model = Delta.nothing(4), set(listed)
    line = [(delta, set(model))]
    for made in several:
        delta = delta.advanced(base, [Change(key, there) for key, there in made.items()])
        for key, there in made.items():
            (model.add if there else model.discard)(key)
        line.append((delta, set(model)))
        assert len(base) - len(delta.hidden) + delta.added == len(model)
    for older, then in line:
        assert held(base, older) == then


def test_many_changes_at_once_and_one_by_one_are_the_same() -> None:
    rng = np.random.default_rng(1)
    rows = np.unique(rng.integers(0, 256, (3000, 4), dtype=np.uint8), axis=0)
    base = Base.of_rows(rows)
    gone = [Change(row.tobytes(), False) for row in rows[::3]]
    new = [Change(row.tobytes(), True) for row in rng.integers(0, 256, (500, 4), dtype=np.uint8)]
    changed = list({change.key: change for change in gone + new}.values())
    at_once = Delta.nothing(4).advanced(base, changed)
    singly = Delta.nothing(4)
    for change in changed:
        singly = singly.advanced(base, [change])
    assert at_once.hidden == singly.hidden
    assert {row.tobytes() for row in at_once.rows} == {row.tobytes() for row in singly.rows}
