"""A process that dies, or whose disk refuses, at every step of what a vault does to its files. Run by test_crash.py.

Steps are the calls by which files and names reach the disk. Each is tried in a fork of its own, on the same directory.
"""

from __future__ import annotations

import errno
import os
import resource
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from hashmatch.errors import StoreFailed, StoreFull
from hashmatch.evidence.master import FileMaster, create_master_file
from hashmatch.evidence.upkeep import check, sweep
from hashmatch.evidence.vault import Vault

CALLS = ("open", "mkdir", "fsync", "replace", "unlink")
MEDIA, OTHER = b"what was uploaded" * 1000, b"another upload"
AT = datetime(2026, 1, 2, tzinfo=UTC)
REAL = {name: getattr(os, name) for name in CALLS}


class Steps:
    """Counts the calls; before number `fatal` it does `act`."""

    def __init__(self, fatal: int, act: Callable[[], None]) -> None:
        self.fatal, self.act, self.made = fatal, act, list[str]()
        for name in CALLS:
            setattr(os, name, self.counted(name))

    def counted(self, name: str) -> Callable[..., object]:
        def call(*given: object, **named: object) -> object:
            self.made.append(name)
            if len(self.made) == self.fatal:
                self.act()
            return REAL[name](*given, **named)

        return call


def die() -> None:
    os._exit(9)


def refuse() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def tried(work: Callable[[], object], fatal: int, act: Callable[[], None]) -> str:
    """How work went in a fork: "died", "full" where our error was raised, "done" where it has no such step, or
    "through" where it did without one (a folder that cannot be made, but is there)."""
    pid = os.fork()
    if pid == 0:
        try:
            steps = Steps(fatal, act)
            work()
            os._exit(0 if len(steps.made) < fatal else 5)
        except StoreFull:
            os._exit(7)
        except BaseException as e:
            print("raised", repr(e), file=sys.stderr)
            os._exit(1)
    return {0: "done", 5: "through", 9: "died", 7: "full"}[os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]


def vault(directory: Path) -> Vault:
    path, former = directory / "new.key", directory / "old.key"
    return Vault(directory / "vault", FileMaster(path), former=[FileMaster(former)])


def old(directory: Path) -> Vault:
    path, newer = directory / "old.key", directory / "new.key"
    return Vault(directory / "vault", FileMaster(path), former=[FileMaster(newer)])


def held(directory: Path, item_id: str) -> bytes | None:
    """What a fresh process finds of an item; it must be whole or not there."""
    found = vault(directory)
    found.prove()
    sealed = found.describe(item_id)
    if sealed is None:
        assert item_id not in set(found.items())
        return None
    assert item_id in set(found.items())
    opened, size = found.open(item_id)
    with opened:
        media = opened.read()
    assert len(media) == size == sealed.size
    return media


def files(directory: Path, item_id: str) -> list[str]:
    return sorted(path.name for path in (directory / "vault").rglob(f"{item_id}.*"))


def cleaned(directory: Path) -> None:
    """Afterwards nothing is half there, and the other item is as it was."""
    sweep(vault(directory), "v_other".__eq__, AT)
    whole = files(directory, "v_1")
    assert whole in ([], ["v_1.key", "v_1.sealed"]), whole
    assert held(directory, "v_other") == OTHER
    assert not list(check(vault(directory)))


def every(directory: Path, act: Callable[[], None], work: Callable[[], object], before: Callable[[], None],
          after: Callable[[str], None]) -> None:  # fmt: skip
    """Does work again and again, with the next step fatal each time, until it comes through."""
    for fatal in range(1, 100):
        before()
        how = tried(work, fatal, act)
        after(how)
        cleaned(directory)
        if how == "done":
            print("steps", fatal - 1)
            return


def sealing(directory: Path, act: Callable[[], None]) -> None:
    def after(how: str) -> None:
        media = held(directory, "v_1")
        if how in ("done", "through"):
            assert media == MEDIA
        elif how == "full":  # what was refused has left nothing, even before anybody sweeps
            assert files(directory, "v_1") == []
        else:
            assert media in (None, MEDIA)

    every(directory, act, lambda: vault(directory).seal("v_1", MEDIA, media_type="", at=AT),
          lambda: void(vault(directory).destroy("v_1")), after)  # fmt: skip
    assert vault(directory).seal("v_1", MEDIA, media_type="", at=AT).size == len(MEDIA)


def destroying(directory: Path, act: Callable[[], None]) -> None:
    def after(how: str) -> None:
        media = held(directory, "v_1")
        assert media is None if how in ("done", "through") else media in (None, MEDIA)
        vault(directory).destroy("v_1")
        assert files(directory, "v_1") == []

    every(directory, act, lambda: vault(directory).destroy("v_1"), lambda: fresh(directory), after)


def swept(directory: Path, act: Callable[[], None]) -> None:
    """As `destroying`, but what a process began a sweep ends; and sealing again begins anew."""

    def after(how: str) -> None:
        media = held(directory, "v_1")
        sweep(vault(directory), "v_other".__eq__, AT)
        assert files(directory, "v_1") == ([] if media is None else ["v_1.key", "v_1.sealed"])

    every(directory, act, lambda: vault(directory).destroy("v_1"), lambda: fresh(directory), after)


def rewrapping(directory: Path, act: Callable[[], None]) -> None:
    def before() -> None:
        vault(directory).destroy("v_1")
        old(directory).seal("v_1", MEDIA, media_type="", at=AT)

    def after(how: str) -> None:
        assert held(directory, "v_1") == MEDIA
        sealed = vault(directory).describe("v_1")
        assert sealed is not None
        if how in ("done", "through"):
            assert sealed.master_id == vault(directory).master.id

    every(directory, act, lambda: vault(directory).rewrap("v_1"), before, after)


def fresh(directory: Path) -> None:
    """The item, sealed; over what a dead process may have left of it."""
    vault(directory).seal("v_1", MEDIA, media_type="", at=AT)


def void(_: object) -> None:
    pass


def full(directory: Path) -> None:
    """A disk that takes half of a body."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    media = bytes(3 << 20)
    for _ in range(2):
        try:
            vault(directory).seal("v_1", media, media_type="", at=AT)
        except StoreFailed as e:
            print(type(e).__name__, files(directory, "v_1"), held(directory, "v_other") == OTHER)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    print(vault(directory).seal("v_1", media, media_type="", at=AT).size, held(directory, "v_1") == media)


def order(directory: Path) -> None:
    """Prints what is done to files, in order, with their names."""
    said = list[str]()

    def told(name: str) -> Callable[..., object]:
        def call(what: object, *given: object, **named: object) -> object:
            path = Path(os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else str(what))
            ends = path.name.removeprefix("v_1")
            said.append(f"{name} {ends if ends.startswith('.') else 'folder'}")
            return REAL[name](what, *given, **named)

        return call

    kept = vault(directory)
    kept.seal("v_1", MEDIA, media_type="", at=AT)  # so that the folder is there
    kept.destroy("v_1")
    for name in ("fsync", "replace", "unlink"):
        setattr(os, name, told(name))
    for work in (lambda: kept.seal("v_1", MEDIA, media_type="", at=AT), lambda: kept.destroy("v_1")):
        said.clear()
        work()
        print(", ".join(said))


def main(kind: str, how: str, where: str) -> None:
    directory = Path(where)
    for name in ("old.key", "new.key"):
        create_master_file(directory / name)
    old(directory).prove()
    vault(directory).seal("v_other", OTHER, media_type="", at=AT)
    if how:
        globals()[kind](directory, {"die": die, "refuse": refuse}[how])
    else:
        globals()[kind](directory)


if __name__ == "__main__":
    main(*sys.argv[1:])
