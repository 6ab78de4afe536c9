"""Which processes write to the log, so that one which ended without saying so is noticed by the next."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hashmatch.audit import tables
from hashmatch.audit.leaves import Appending, Leaves
from hashmatch.errors import Corrupt
from hashmatch.store.env import Env, Txn
from hashmatch.v1.audit_pb2 import GAP_KIND_CRASH, Event
from hashmatch.v1.store_pb2 import RunRecord

_STARTED_AT = 19  # field of /proc/PID/stat after the command's name: clock ticks since boot; proc(5), field 22


@dataclass(frozen=True, slots=True)
class Run:
    """One life of a process that gives verdicts, as its first event tells of it."""

    versions: Mapping[str, str]
    settings_digest: bytes  # SHA-256
    revision: int  # of the lists
    policy: Callable[[Env, Txn], str] = lambda _env, _txn: (
        ""
    )  # the version in force as it begins, read in its transaction
    id: str = field(default_factory=lambda: secrets.token_hex(8))


def start(env: Env, log: Appending, leaves: Leaves, run: Run) -> None:
    """Logs that a run begins, after the end of those that crashed."""
    for name, stored in leaves.with_prefix(log.txn, tables.RUN_PREFIX):
        record = RunRecord.FromString(stored)
        if not alive(record):
            gap = Event()
            gap.gap.kind, gap.gap.run = GAP_KIND_CRASH, name.decode()
            log.append(gap)
            leaves.keep(log.txn, tables.RUN_PREFIX + name, None)
    began = Event()
    began.started.run = run.id
    began.started.versions.update(run.versions)
    if version := run.policy(env, log.txn):
        began.started.versions["policy"] = version
    began.started.settings_digest, began.started.revision = run.settings_digest, run.revision
    log.append(began)
    leaves.keep(log.txn, tables.run_key(run.id), _this().SerializeToString())


def stop(log: Appending, leaves: Leaves, run: Run) -> None:
    """Logs that a run ended in order."""
    event = Event()
    event.stopped.run = run.id
    log.append(event)
    leaves.keep(log.txn, tables.run_key(run.id), None)


def alive(record: RunRecord) -> bool:
    """Whether the process of a run is still there, and no other that was given its number."""
    if record.boot_id != _boot_id():
        return False
    ticks = _started_ticks(record.pid)
    if ticks is not None:
        return ticks == record.started_ticks
    if Path("/proc/self").exists():
        return False
    try:
        os.kill(record.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _this() -> RunRecord:
    return RunRecord(pid=os.getpid(), started_ticks=_started_ticks(os.getpid()) or 0, boot_id=_boot_id())


def _boot_id() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _started_ticks(pid: int) -> int | None:
    """When a process began; None where it is not there, or is only waiting to be reaped, or nobody can tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in "ZX":
        return None
    try:
        return int(fields[_STARTED_AT])
    except (IndexError, ValueError):
        raise Corrupt(f"/proc/{pid}/stat is not as proc(5) says") from None
