"""Power cuts by the hundred, of a ledger and of lists: of writes that no sync had made sure of, any may be missing,
kept or torn; nothing acknowledged is lost. Without syncs the same cuts must show that it is.

The writes and syncs are LMDB's own, watched while they are written (`lmdb_calls.py`). What strace shows of them by
hand: data pages by pwrite or writev, fdatasync, then 120 bytes of the meta page through a descriptor opened O_DSYNC.
"""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

CUTS = 600
MUTANT_CUTS = 60
RECORDS = 60
LIST_CUTS = 100
LIST_STEPS = 30


@pytest.fixture(scope="module")
def watched(nursery, tmp_path_factory: pytest.TempPathFactory):
    """Before, witness and happenings of one run with syncs, and of one without."""

    def run(sync: bool):
        directory = tmp_path_factory.mktemp("watched")
        assert nursery.run("watch", str(directory / "state"), str(directory / "trace"), RECORDS, sync) == (0, [])
        keys[sync] = directory / "state" / "keys"
        return pickle.loads((directory / "trace").read_bytes())  # noqa: S301 - written by the task

    keys: dict[bool, Path] = {}
    return {sync: run(sync) for sync in (True, False)} | {"keys": keys}


def broken(
    nursery,
    directory: Path,
    trace,
    cuts: int,
    environment: str = "ledger",
    verify: str = "verify",
    keys: Path | None = None,
) -> list[tuple[int, list[str]]]:
    """The exit code and what was said of every cut that is wrong. What verified it ended with it: no later one is
    judged by a process that has met a wrong one."""
    directory.mkdir(parents=True, exist_ok=True)
    if keys is not None:
        shutil.copytree(keys, directory / "keys")  # they were synced before the ledger was there
    (directory / "trace").write_bytes(pickle.dumps(trace))
    found, judged = [], 0
    while judged < cuts:
        where = str(directory), environment, str(directory / "trace")
        code, lines = nursery.run("verify_cuts", verify, *where, judged, cuts)
        right = lines.count(".")
        judged += right
        if code or lines[right:]:
            found.append((code, lines[right:]))
            judged += 1
    return found


def test_trace_is_whole(watched) -> None:
    before, _, happened = watched[True]
    kinds = [what for what, *_ in happened]
    assert kinds.count("ack") == RECORDS
    assert kinds.count("sync") > RECORDS / 5
    assert len(before) < sum(len(h[2]) for h in happened if h[0] == "write")
    assert not any(h[0] == "sync" or (h[0] == "write" and h[3]) for h in watched[False][2])


def test_no_cut_loses_what_was_acknowledged(nursery, watched, tmp_path: Path) -> None:
    assert broken(nursery, tmp_path, watched[True], CUTS, keys=watched["keys"][True]) == []


def test_without_syncs_the_same_cuts_lose(nursery, watched, tmp_path: Path) -> None:
    found = broken(nursery, tmp_path, watched[False], MUTANT_CUTS, keys=watched["keys"][False])
    assert len(found) > MUTANT_CUTS / 2


@pytest.mark.parametrize("sync", [True, False])
def test_no_cut_loses_a_step_of_the_lists(nursery, tmp_path: Path, sync: bool) -> None:
    state, trace = str(tmp_path / "state"), tmp_path / "trace"
    assert nursery.run("watch_lists", state, str(trace), LIST_STEPS, sync) == (0, [])
    watched = pickle.loads(trace.read_bytes())  # noqa: S301 - written by the task
    assert sum(what == "ack" for what, *_ in watched[2]) == LIST_STEPS + 1
    cuts = LIST_CUTS if sync else MUTANT_CUTS
    found = broken(nursery, tmp_path / "cuts", watched, cuts, "lists", "verify_lists")
    assert found == [] if sync else len(found) > MUTANT_CUTS / 2
