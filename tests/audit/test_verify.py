"""The verifier that stands alone: it finds every tampering, names it, and is content with every sound log."""

from __future__ import annotations

import ast
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from audit import log_exports
from audit.log_exports import NEXT, OURS, Made
from audit.log_exports import Signer as Second
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from logs import NOON, Clock, Export, exported, match, opened, workflow, write

from hashmatch.audit import note, tree, verify
from hashmatch.audit.export import export
from hashmatch.audit.note import Checkpoint, Signer
from hashmatch.errors import Malformed, Refused
from hashmatch.v1 import audit_pb2
from hashmatch.v1.audit_pb2 import Event

STRANGER = Signer("log.example/test", Ed25519PrivateKey.from_private_bytes(bytes(32)))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """A log with facts of every kind, and some checkpoints."""
    folder = tmp_path_factory.mktemp("sound")
    write(folder / "state", [*map(match, range(40)), *workflow(), *map(match, range(40, 60))], sign_every=10)
    return exported(folder / "state", folder / "export")


@pytest.fixture
def copy(sound: Export, tmp_path: Path) -> Export:
    return sound.copy(tmp_path / "export")


def resigned(export: Export, leaves: list[bytes], signer: Signer | None = None) -> None:
    """The export with other leaves, and everything signed anew: as by a thief of the key."""
    export.put_leaves(leaves)
    for path in export.checkpoints():
        path.unlink()
    front = tree.Frontier()
    for leaf in leaves:
        front.append(tree.leaf_hash(leaf))
    text = Checkpoint("log.example/test", front.size, front.root()).text()
    (export.path / "checkpoints" / f"{front.size:020}.note").write_bytes(
        text + b"\n" + (signer or export.signer).sign(text)
    )
    manifest = json.loads((export.path / "manifest.json").read_bytes())
    (export.path / "manifest.json").write_text(json.dumps(manifest | {"last": len(leaves)}))


def changed(leaf: bytes, change: Callable[[Event], object]) -> bytes:
    event = Event.FromString(leaf)
    change(event)
    return event.SerializeToString(deterministic=True)


def of(leaves: list[bytes], fact: str) -> int:
    """Where the first fact of a kind stands."""
    return next(at for at, leaf in enumerate(leaves) if Event.FromString(leaf).WhichOneof("fact") == fact)


def test_a_sound_log(sound: Export) -> None:
    report = sound.report()
    assert report.problems == []
    assert report.code == 0
    assert (report.first, report.last, report.leaves) == (1, len(sound.leaves()), len(sound.leaves()))
    assert report.checkpoints >= 7


@pytest.mark.parametrize("number", [0, 1, 2, 3, 7, 8, 9, 31])
def test_sound_logs_of_every_shape(tmp_path: Path, number: int) -> None:
    write(tmp_path / "state", map(match, range(number)), sign_every=3)
    assert exported(tmp_path / "state", tmp_path / "export").report().problems == []


@pytest.mark.parametrize("first", [2, 3, 8, 33, 64])
def test_a_part_of_a_log(sound: Export, tmp_path: Path, first: int) -> None:
    part = exported(sound.path.parent / "state", tmp_path / "part", first=first)
    assert part.report().problems == []
    leaves = part.leaves()
    part.put_leaves([leaves[0][:-1] + b"\x00", *leaves[1:]])
    assert part.report().code == verify.TAMPERED


def test_it_stands_alone(sound: Export, tmp_path: Path) -> None:
    """As an auditor runs it: the copy in the export, with no hashmatch in reach."""
    (tmp_path / "key").write_text(f"# the log's\n{sound.key}\n")
    command = [sys.executable, "-I", "verify.py", ".", "--key", str(tmp_path / "key")]
    done = subprocess.run(command, cwd=sound.path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("sound: log.example/test, events 1 to ")
    told = json.loads(subprocess.run([*command, "--json"], cwd=sound.path, capture_output=True, check=True).stdout)
    assert (told["sound"], told["problems"]) == (True, [])
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else alias.name).split(".")[0]
        for node in ast.walk(ast.parse((sound.path / "verify.py").read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


# ── what somebody may have done to an export ────────────────────────────────────────────────────────────────────────


def flip(export: Export) -> None:
    leaves = export.leaves()
    leaves[20] = leaves[20][:-3] + bytes([leaves[20][-3] ^ 1]) + leaves[20][-2:]
    export.put_leaves(leaves)


def edit(export: Export) -> None:
    leaves = export.leaves()
    leaves[20] = changed(leaves[20], lambda event: setattr(event.verdict, "media_bytes", 999))
    export.put_leaves(leaves)


def leave_out(export: Export) -> None:
    leaves = export.leaves()
    export.put_leaves(leaves[:20] + leaves[21:])


def repeat(export: Export) -> None:
    leaves = export.leaves()
    export.put_leaves(leaves[:21] + leaves[20:-1])


def swap(export: Export) -> None:
    leaves = export.leaves()
    leaves[20], leaves[21] = leaves[21], leaves[20]
    export.put_leaves(leaves)


def cut_leaves(export: Export) -> None:
    export.put_leaves(export.leaves()[:-5])


def cut_file(export: Export) -> None:
    path = export.path / "leaves" / "00000000.leaves"
    path.write_bytes(path.read_bytes()[:-7])


def lose_file(export: Export) -> None:
    path = export.path / "leaves" / "00000000.leaves"
    path.rename(path.with_name("00000001.leaves"))


def add_leaf(export: Export) -> None:
    leaves = export.leaves()
    export.put_leaves([*leaves, changed(leaves[-1], lambda event: setattr(event, "sequence", len(leaves) + 1))])


def cut_whole(export: Export) -> None:
    """Leaves, manifest and late checkpoints, so that an older moment is shown as the newest."""
    sizes = [Checkpoint.parse(note.parse_note(path.read_bytes()).text).size for path in export.checkpoints()]
    manifest = json.loads((export.path / "manifest.json").read_bytes())
    (export.path / "manifest.json").write_text(json.dumps(manifest | {"last": sizes[2]}))
    export.put_leaves(export.leaves()[: sizes[2]])
    for path in export.checkpoints()[3:]:
        path.unlink()


def edit_checkpoint(export: Export) -> None:
    path = export.checkpoints()[2]
    path.write_bytes(path.read_bytes().replace(b"\n", b"\nA", 3).replace(b"\nA", b"\n", 2))


def other_root(export: Export) -> None:
    """A checkpoint of another tree, rightly signed."""
    path = export.checkpoints()[2]
    old = Checkpoint.parse(note.parse_note(path.read_bytes()).text)
    text = replace(old, root=bytes(32)).text()
    path.write_bytes(text + b"\n" + export.signer.sign(text))


def other_log(export: Export) -> None:
    path = export.checkpoints()[2]
    old = Checkpoint.parse(note.parse_note(path.read_bytes()).text)
    text = replace(old, origin="log.example/other").text()
    path.write_bytes(text + b"\n" + export.signer.sign(text))


def bad_signature(export: Export) -> None:
    path = export.checkpoints()[2]
    other = export.signer.sign(b"another text\n")
    text = note.parse_note(path.read_bytes()).text
    path.write_bytes(text + b"\n" + other)


def other_key(export: Export) -> None:
    """An edited leaf, and everything signed by a key of the editor's."""
    leaves = export.leaves()
    leaves[20] = changed(leaves[20], lambda event: setattr(event.verdict, "media_bytes", 999))
    resigned(export, leaves, STRANGER)


def no_checkpoints(export: Export) -> None:
    for path in export.checkpoints():
        path.unlink()


def no_manifest(export: Export) -> None:
    (export.path / "manifest.json").unlink()


def resign_with(fact: str, change: Callable[[Event], object]) -> Callable[[Export], None]:
    """One event changed by the owner of the key himself: only what the events say of one another tells."""

    def tamper(export: Export) -> None:
        leaves = export.leaves()
        at = of(leaves, fact)
        leaves[at] = changed(leaves[at], change)
        resigned(export, leaves)

    return tamper


def set_back(event: Event) -> None:
    event.at.FromDatetime(NOON - timedelta(days=1))


def without_hold_release(export: Export) -> None:
    leaves = export.leaves()
    for at, leaf in enumerate(leaves):
        event = Event.FromString(leaf)
        if event.HasField("hold_changed") and event.hold_changed.released:
            leaves[at] = changed(leaf, lambda event: event.hold_changed.ClearField("released"))
    resigned(export, leaves)


def renumber(leaves: list[bytes]) -> list[bytes]:
    return [changed(leaf, lambda event, n=n: setattr(event, "sequence", n)) for n, leaf in enumerate(leaves, 1)]


def unlogged_match(export: Export) -> None:
    leaves = export.leaves()
    at = of(leaves, "verdict")
    resigned(export, renumber(leaves[:at] + leaves[at + 1 :]))


def revision_gap(export: Export) -> None:
    leaves = export.leaves()
    template = Event.FromString(leaves[-1])
    fact = Event(at=template.at, list_changed=audit_pb2.ListChanged(revision=3))
    resigned(export, renumber([*leaves, fact.SerializeToString()]))


TAMPERS = [
    (flip, "ROOT_MISMATCH", 1),
    (edit, "ROOT_MISMATCH", 1),
    (leave_out, "LEAF_MISSING", 1),
    (repeat, "LEAF_DUPLICATED", 1),
    (swap, "LEAF_SWAPPED", 1),
    (cut_leaves, "LEAF_TRUNCATED", 1),
    (cut_file, "LEAF_TRUNCATED", 1),
    (lose_file, "LEAF_MISSING", 1),
    (add_leaf, "LEAF_ADDED", 1),
    (edit_checkpoint, "CHECKPOINT_CHANGED", 1),
    (other_root, "ROOT_MISMATCH", 1),
    (other_log, "WRONG_LOG", 4),
    (bad_signature, "BAD_SIGNATURE", 4),
    (other_key, "WRONG_KEY", 4),
    (no_checkpoints, "UNSIGNED", 1),
    (no_manifest, "UNREADABLE", 5),
    (resign_with("verdict", set_back), "CLOCK_BACK", 1),
    (resign_with("verdict", lambda e: e.verdict.ClearField("no_case")), "MATCH_WITHOUT_CASE", 1),
    (resign_with("verdict", lambda e: setattr(e.verdict.coverage, "revision", 9)), "LIST_CHANGE_MISSING", 1),
    (resign_with("reported", lambda e: e.reported.ClearField("receipt")), "REPORT_WITHOUT_RECEIPT", 1),
    (resign_with("revealed", lambda e: setattr(e.revealed, "by", "mallory")), "REVEAL_WITHOUT_GRANT", 1),
    (resign_with("revealed", lambda e: setattr(e.revealed, "level", "full")), "REVEAL_WITHOUT_GRANT", 1),
    (resign_with("granted", lambda e: e.granted.until.FromDatetime(NOON)), "REVEAL_WITHOUT_GRANT", 1),
    (resign_with("started", lambda e: setattr(e.started, "run", "another")), "RUN_UNKNOWN", 1),
    (resign_with("verdict", lambda e: e.ClearField("at")), "LEAF_CHANGED", 1),
    (resign_with("verdict", lambda e: e.ClearField("verdict")), "LEAF_CHANGED", 1),
    (without_hold_release, "DESTROYED_UNDER_HOLD", 1),
    (unlogged_match, "MATCH_UNLOGGED", 1),
    (revision_gap, "CHANGE_MISSING", 1),
]


@pytest.mark.parametrize(("tamper", "kind", "code"), TAMPERS, ids=[f"{t[1]}-{n}" for n, t in enumerate(TAMPERS)])
def test_every_tampering_is_named(copy: Export, tamper: Callable[[Export], None], kind: str, code: int) -> None:
    tamper(copy)
    report = copy.report()
    assert kind in {problem.kind for problem in report.problems}
    assert report.code == code


def test_where_a_leaf_was_changed_is_told(copy: Export) -> None:
    edit(copy)
    (problem,) = [p for p in copy.report().problems if p.kind == "ROOT_MISMATCH"]
    before, after = (int(word) for word in problem.what.replace(":", " ").split() if word.isdigit())
    assert before <= 21 <= after
    assert after - before < 15


# ── against what was kept elsewhere ─────────────────────────────────────────────────────────────────────────────────


def test_a_forked_history(copy: Export) -> None:
    kept = copy.checkpoints()[4].read_bytes()
    assert copy.report(since=kept).code == 0
    leaves = copy.leaves()
    leaves[20] = changed(leaves[20], lambda event: setattr(event.verdict, "media_bytes", 999))
    resigned(copy, leaves)
    assert copy.report().code == 0  # its owner signed it: by itself it is sound
    report = copy.report(since=kept)
    assert ([p.kind for p in report.problems], report.code) == (["FORKED"], 3)


def test_a_log_that_was_rolled_back(copy: Export) -> None:
    kept = copy.checkpoints()[-1].read_bytes()
    cut_whole(copy)
    assert copy.report().code == 0
    report = copy.report(since=kept)
    assert ([p.kind for p in report.problems], report.code) == (["ROLLED_BACK"], 3)


def test_an_earlier_checkpoint_of_another_log_or_key(copy: Export) -> None:
    text = Checkpoint("log.example/other", 10, bytes(32)).text()
    assert copy.report(since=text + b"\n" + copy.signer.sign(text)).code == 4
    text = Checkpoint("log.example/test", 10, bytes(32)).text()
    assert copy.report(since=text + b"\n" + STRANGER.sign(text)).code == 4
    assert copy.report(since=b"rubbish").code == 5


def test_witnesses(copy: Export) -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes([7]) * 32)
    public = note.VerifierKey("witness.example", note.COSIGNATURE, key.public_key().public_bytes_raw())
    witnesses = [verify.key_of(str(public))]
    assert [p.kind for p in copy.report(witnesses=witnesses, quorum=1).problems] == ["UNWITNESSED"]
    last = copy.checkpoints()[-1]
    signed = last.read_bytes()
    last.write_bytes(signed + note.cosign("witness.example", key, note.parse_note(signed).text, 1_760_000_000))
    assert copy.report(witnesses=witnesses, quorum=1).problems == []
    last.write_bytes(signed + note.cosign("witness.example", key, b"another text\n", 1_760_000_000))
    assert copy.report(witnesses=witnesses, quorum=1).code == 4


def test_a_new_key_is_believed_where_the_old_one_said_so(tmp_path: Path) -> None:
    clock = Clock()
    with closing(opened(tmp_path / "state", clock)) as ledger:
        with ledger.reading() as log:
            first = ledger.checkpoints.verifier_key(log.txn)
        ledger.append(match(1), log=True, remember=False).result(10)
        with ledger.changing() as log:
            second = ledger.checkpoints.rotate(log, by="ann", reason="yearly")
        ledger.checkpoints.settle()
        ledger.append(match(2), log=True, remember=False).result(10)
        ledger.sign()
    export = exported(tmp_path / "state", tmp_path / "export")
    assert export.key == second != first
    assert replace(export, key=first).report().problems == []
    assert [p.kind for p in replace(export, key=second).report().problems] == ["WRONG_KEY", "WRONG_KEY"]
    assert not (tmp_path / "state" / "keys" / "log-next.key").exists()


def test_a_clock_that_was_set_back_is_a_note(tmp_path: Path) -> None:
    clock = Clock()
    with closing(opened(tmp_path / "state", clock)) as ledger:
        ledger.append(match(1), log=True, remember=False).result(10)
        clock.now -= timedelta(hours=2)
        ledger.append(match(2), log=True, remember=False).result(10)
    report = exported(tmp_path / "state", tmp_path / "export").report()
    assert report.problems == []
    assert any("clock was set" in one for one in report.notes)


# ── a thousand ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_thousand_tamperings_are_found(copy: Export) -> None:
    rng = random.Random(6962)
    leaves = copy.leaves()
    checkpoints = {path: path.read_bytes() for path in copy.checkpoints()}
    missed = []
    for number in range(1000):
        what = rng.choice(["bit", "bit", "delete", "swap", "insert", "cut", "checkpoint", "lose checkpoint"])
        forged, at = list(leaves), rng.randrange(len(leaves))
        touched = None
        if what == "bit":
            bit = rng.randrange(8 * len(forged[at]))
            forged[at] = (int.from_bytes(forged[at]) ^ 1 << bit).to_bytes(len(forged[at]))
        elif what == "delete":
            del forged[at]
        elif what == "swap":
            other = rng.choice([n for n in range(len(leaves)) if n != at])
            forged[at], forged[other] = forged[other], forged[at]
        elif what == "insert":
            forged.insert(at, rng.choice(leaves))
        elif what == "cut":
            forged = forged[:at]
        else:
            touched = rng.choice(list(checkpoints)) if what == "checkpoint" else copy.checkpoints()[-1]
            data = bytearray(checkpoints[touched])
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            touched.write_bytes(data) if what == "checkpoint" else touched.unlink()
        copy.put_leaves(forged)
        if not copy.report().problems and (touched is None or touched.read_bytes() != checkpoints[touched]):
            missed.append((number, what, at))
        if touched is not None:
            touched.write_bytes(checkpoints[touched])
    copy.put_leaves(leaves)
    assert copy.report().problems == []
    assert missed == []


# ── exporting ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_cannot_be_exported(tmp_path: Path, sound: Export) -> None:
    with closing(opened(tmp_path / "empty", run=False)) as ledger:
        with pytest.raises(Malformed):
            export(ledger, tmp_path / "nothing")
        assert not (tmp_path / "nothing").exists()
    with closing(opened(sound.path.parent / "state", run=False)) as ledger:
        with pytest.raises(Refused):
            export(ledger, sound.path)
        with pytest.raises(Malformed):
            export(ledger, tmp_path / "late", first=10_000)
    assert not list(tmp_path.glob(".*"))


def test_nothing_personal_and_no_fingerprint_is_exported(sound: Export) -> None:
    everything = b"".join(path.read_bytes() for path in sound.path.rglob("*") if path.is_file())
    for number in range(60):
        assert b"content-%d" % number not in everything
        assert number == 0 or number.to_bytes(32) not in everything
    assert b"someone" not in everything
    shutil.rmtree(sound.path.parent / "nothing", ignore_errors=True)


# ── exports that a second implementation made ───────────────────────────────────────────────────────────────────────


def judged(made: Made, to: Path, *signers: Second, **more: object) -> verify.Report:
    keys = [verify.key_of(signer.vkey) for signer in signers or (OURS,)]
    return verify.verify(made.write(to), keys, **more)  # type: ignore[arg-type]


def kinds(report: verify.Report) -> set[str]:
    return {problem.kind for problem in report.problems}


def test_two_implementations_agree_on_logs_of_every_size(tmp_path: Path) -> None:
    for number in range(1, 130):
        assert judged(log_exports.made(number, every=1 + number % 9), tmp_path).problems == [], number
    for first in (2, 3, 33, 64, 65, 100, 127, 130):
        part = log_exports.made(130, first=first)
        assert judged(part, tmp_path, since=log_exports.note(part.leaves[: first - 1], OURS)).problems == [], first
        part.manifest["frontier"] = [bytes(32).hex()] * len(log_exports.frontier(part.leaves[: first - 1]))
        assert kinds(judged(part, tmp_path)) == {"ROOT_MISMATCH"}, first


def test_a_part_that_does_not_reach_back_to_the_earlier_checkpoint(tmp_path: Path) -> None:
    part = log_exports.made(40, first=20)
    report = judged(part, tmp_path, since=log_exports.note(part.leaves[:18], OURS))
    assert (kinds(report), report.code) == ({"UNANCHORED"}, 3)


def test_leaves_in_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (verify, log_exports):
        monkeypatch.setattr(module, "LEAVES_PER_FILE", 10)
    made = log_exports.made(35)
    assert judged(made, tmp_path).problems == []
    (tmp_path / "leaves" / "00000001.leaves").rename(tmp_path / "kept")
    report = verify.verify(tmp_path, [verify.key_of(OURS.vkey)])
    assert [(p.kind, p.sequence) for p in report.problems] == [("LEAF_MISSING", 11)]
    (tmp_path / "kept").rename(tmp_path / "leaves" / "00000001.leaves")
    (tmp_path / "leaves" / "00000003.leaves").unlink()
    report = verify.verify(tmp_path, [verify.key_of(OURS.vkey)])
    assert [(p.kind, p.sequence) for p in report.problems] == [("LEAF_TRUNCATED", 31), ("UNSIGNED", 17)]


def fact(events: list[Event], name: str, *, last: bool = False) -> Event:
    return next(e for e in (reversed(events) if last else events) if e.WhichOneof("fact") == name)


def without(events: list[Event], name: str) -> None:
    events.remove(fact(events, name))


def again(events: list[Event], name: str) -> None:
    found = fact(events, name)
    events.insert(events.index(found), Event.FromString(found.SerializeToString()))


UNSOUND: list[tuple[str, Callable[[list[Event]], object], str]] = [
    ("no case", lambda es: es[3].verdict.ClearField("case_id"), "MATCH_WITHOUT_CASE"),
    ("no reason for no case", lambda es: es[6].verdict.ClearField("no_case"), "MATCH_WITHOUT_CASE"),
    ("a revision too new", lambda es: setattr(es[4].verdict.coverage, "revision", 2), "LIST_CHANGE_MISSING"),
    ("a list change left out", lambda es: without(es, "list_changed"), "CHANGE_MISSING"),
    ("a list change twice", lambda es: again(es, "list_changed"), "CHANGE_MISSING"),
    ("a key change left out", lambda es: without(es, "credential_changed"), "CHANGE_MISSING"),
    ("a match left out", lambda es: es.pop(3), "MATCH_UNLOGGED"),
    ("a match called retro", lambda es: setattr(es[4].verdict.retro, "list", "known"), "MATCH_UNLOGGED"),
    ("more counted", lambda es: setattr(es[9].counted.counts[0], "count", 4), "MATCH_UNLOGGED"),
    ("no receipt", lambda es: fact(es, "reported", last=True).reported.ClearField("receipt"), "REPORT_WITHOUT_RECEIPT"),
    ("no grant", lambda es: without(es, "granted"), "REVEAL_WITHOUT_GRANT"),
    ("another grant", lambda es: setattr(fact(es, "revealed").revealed, "grant_id", "g7"), "REVEAL_WITHOUT_GRANT"),
    ("another person", lambda es: setattr(fact(es, "revealed").revealed, "by", "eve"), "REVEAL_WITHOUT_GRANT"),
    ("another case", lambda es: setattr(fact(es, "revealed").revealed, "case_id", "c7"), "REVEAL_WITHOUT_GRANT"),
    ("another level", lambda es: setattr(fact(es, "revealed").revealed, "level", "full"), "REVEAL_WITHOUT_GRANT"),
    ("a grant run out", lambda es: fact(es, "granted").granted.until.FromDatetime(NOON), "REVEAL_WITHOUT_GRANT"),
    ("one hold of two", lambda es: es.pop(22), "DESTROYED_UNDER_HOLD"),
    ("a hold not released", lambda es: es[22].hold_changed.ClearField("released"), "DESTROYED_UNDER_HOLD"),
    ("a process twice", lambda es: again(es, "started"), "RUN_TWICE"),
    ("a stop without start", lambda es: without(es, "started"), "RUN_UNKNOWN"),
    ("the clock set back", lambda es: es[8].at.FromDatetime(NOON), "CLOCK_BACK"),
    ("a clock set back unsaid", lambda es: setattr(fact(es, "gap").gap, "kind", 3), "CLOCK_BACK"),
    ("no time", lambda es: es[8].ClearField("at"), "LEAF_CHANGED"),
    ("no fact", lambda es: es[8].ClearField("verdict"), "LEAF_CHANGED"),
]


@pytest.mark.parametrize(("change", "kind"), [u[1:] for u in UNSOUND], ids=[u[0] for u in UNSOUND])
def test_what_its_own_signer_cannot_hide(tmp_path: Path, change: Callable[[list[Event]], object], kind: str) -> None:
    events = log_exports.sound(70)
    change(events)
    report = judged(Made(log_exports.encoded(events)).sign(), tmp_path)
    assert kind in kinds(report)
    assert (report.code, report.first_bad > 0) == (1, True)


def test_a_second_value_of_a_field_hides_nothing(tmp_path: Path) -> None:
    """Parsers merge what comes twice: theirs and ours must not read different events."""
    made = log_exports.made(10)
    made.leaves[4] += Event(verdict=audit_pb2.VerdictRecord(case_id="another")).SerializeToString()
    assert "LEAF_CHANGED" in kinds(judged(made.sign(), tmp_path))


def test_a_fact_of_a_later_version_is_a_note(tmp_path: Path) -> None:
    made = log_exports.made(10)
    later = Event(sequence=11, at=Event.FromString(made.leaves[-1]).at).SerializeToString()
    made.leaves.append(later + bytes([0xE2, 0x01, 0x02, 0x08, 0x01]))  # field 28: a message
    report = judged(made.sign(), tmp_path)
    assert report.problems == []
    assert any("too old to know" in note for note in report.notes)


def test_what_lies_before_a_part_is_a_note(tmp_path: Path) -> None:
    part = log_exports.made(40, first=15)  # after the grant, before the look
    report = judged(part, tmp_path)
    assert report.problems == []
    assert any("grants are from before" in note for note in report.notes)


# ── keys ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def rotated(*signers: Second, old: Second = OURS, new: Second = NEXT, at: int = 20) -> Made:
    """A log that says at event 21 that its key is another, and who signed it up to there."""
    events = log_exports.sound(50)
    said = Event(log_key_changed=audit_pb2.LogKeyChanged(key=new.vkey, previous=old.vkey), at=events[at].at)
    made = Made(log_exports.encoded([*events[:at], said, *events[at:]]), every=10, signers=(OURS,)).sign()
    for name in made.notes:
        if int(name[:20]) > at:
            made.notes[name] = log_exports.note(made.leaves[: int(name[:20])], new)
    if signers:
        made.notes[f"{at + 1:020}.note"] = log_exports.note(made.leaves[: at + 1], *signers)
    return made


def test_a_key_is_believed_only_in_a_tree_that_a_trusted_key_signed(tmp_path: Path) -> None:
    assert judged(rotated(OURS, NEXT), tmp_path).problems == []
    assert judged(rotated(OURS), tmp_path).problems == []
    # Whoever has no key of ours can still write the event: what he signed with his own is worth nothing.
    forged = judged(rotated(log_exports.STRANGER, new=log_exports.STRANGER), tmp_path)
    assert (kinds(forged), forged.code) == ({"WRONG_KEY"}, 4)
    assert kinds(judged(rotated(new=log_exports.STRANGER), tmp_path)) == {"WRONG_KEY"}
    assert "WRONG_KEY" in kinds(judged(rotated(OURS, old=log_exports.STRANGER), tmp_path))
    # The old key signed the announcement, but of another tree.
    other = rotated()
    other.notes[f"{21:020}.note"] = log_exports.note([*other.leaves[:20], b"another"], OURS)
    assert kinds(judged(other, tmp_path)) == {"ROOT_MISMATCH", "WRONG_KEY"}
    # The announced key's own signature is false.
    false = log_exports.note([b""] * 21, NEXT).rpartition(b"\n\n")[2]
    other.notes[f"{21:020}.note"] = log_exports.note(other.leaves[:21], OURS) + false
    assert "BAD_SIGNATURE" in kinds(judged(other, tmp_path))


def test_a_key_that_was_replaced_signs_no_more(tmp_path: Path) -> None:
    made = rotated(OURS, NEXT)
    late = max(made.notes)
    made.notes[late] = log_exports.note(made.leaves, OURS)
    for trusted in ((OURS,), (OURS, NEXT)):
        assert kinds(judged(made, tmp_path, *trusted)) == {"WRONG_KEY"}


def test_an_earlier_checkpoint_may_be_signed_by_a_key_that_came_later(tmp_path: Path) -> None:
    made = rotated(OURS, NEXT)
    for size, signer in ((15, OURS), (40, NEXT)):
        assert judged(made, tmp_path, since=log_exports.note(made.leaves[:size], signer)).problems == []
    strange = log_exports.note(made.leaves[:40], log_exports.STRANGER)
    assert kinds(judged(made, tmp_path, since=strange)) == {"BAD_SIGNATURE"}


def test_a_key_signs_the_log_of_its_name(tmp_path: Path) -> None:
    made = log_exports.made(20)
    made.manifest["origin"] = "log.example/other"
    made.notes = {f"{20:020}.note": log_exports.note(made.leaves, OURS, origin="log.example/other")}
    report = judged(made, tmp_path)
    assert ("WRONG_LOG" in kinds(report), report.code) == (True, 4)


def test_a_witness_counts_once(tmp_path: Path) -> None:
    made = log_exports.made(20)
    one, two = Second(log_exports.key(8), "witness/1", 4), Second(log_exports.key(9), "witness/2", 4)
    alias = Second(log_exports.key(8), "witness/3", 4)
    witnesses = [verify.key_of(witness.vkey) for witness in (one, one, two, alias)]
    made.notes[max(made.notes)] = log_exports.note(made.leaves, OURS, one, alias)
    assert judged(made, tmp_path, witnesses=witnesses, quorum=1).code == 0
    assert kinds(judged(made, tmp_path, witnesses=witnesses, quorum=2)) == {"UNWITNESSED"}
    made.notes[max(made.notes)] = log_exports.note(made.leaves, OURS, one, two, log_exports.STRANGER)
    assert judged(made, tmp_path, witnesses=witnesses, quorum=2).code == 0


# ── what is no export ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2}, {"origin": 7}, {"first": "1"}, {"first": 0}, {"last": 1e999}, {"last": 0}, {"frontier": [7]},
        {"frontier": ["00" * 32]}, {"frontier": None}, {"first": 2, "frontier": ["00"]},
    ],
    ids=str,
)  # fmt: skip
def test_a_manifest_that_cannot_be(tmp_path: Path, change: dict[str, object]) -> None:
    made = log_exports.made(5)
    made.manifest |= change
    report = judged(made, tmp_path)
    assert (kinds(report), report.code) == ({"UNREADABLE"}, 5)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    keys = [verify.key_of(OURS.vkey)]
    assert verify.verify(tmp_path / "nowhere", keys).code == 5
    made = log_exports.made(5)
    for folder in ("leaves", "checkpoints"):
        shutil.rmtree(made.write(tmp_path / folder) / folder)
        assert verify.verify(tmp_path / folder, keys).code == 5
    made.write(tmp_path / "a")
    (tmp_path / "a" / "leaves" / "00000000.leaves").unlink()
    (tmp_path / "a" / "leaves" / "00000000.leaves").mkdir()
    assert verify.verify(tmp_path / "a", keys).code == 5
    (made.write(tmp_path / "b") / "manifest.json").write_text("[" * 100_000)
    assert verify.verify(tmp_path / "b", keys).code == 5


def test_rubbish_is_given_up(tmp_path: Path) -> None:
    report = judged(Made([b"\xff"] * 3000).sign(), tmp_path)
    assert (len(report.problems), report.code) == (verify.MAX_PROBLEMS, 1)


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = log_exports.made(40)
    made.leaves[0] = log_exports.edited(made.leaves[0], lambda e: setattr(e.started, "run", "\x1b[2J\rsound: all\n"))
    folder = str(made.sign().write(tmp_path / "export"))
    (tmp_path / "key").write_text(f"# ours\n\n{OURS.vkey} # the first\n")
    (tmp_path / "witness").write_text(Second(log_exports.key(8), "witness/1", 4).vkey)
    (tmp_path / "none").write_text("# none\n")
    key = ["--key", str(tmp_path / "key")]
    assert verify.main([folder, *key]) == 1  # a run that stopped and never started
    said = capsys.readouterr().out
    assert all(line.isprintable() for line in said.splitlines())
    assert "NOT SOUND" in said.splitlines()[-1]
    assert verify.main([folder, "--key", str(tmp_path / "none")]) == 2
    assert verify.main([folder, "--key", str(tmp_path / "nowhere")]) == 2
    for words in (["--quorum", "1"], ["--quorum", "2"], ["--quorum", "-1"], []):
        witness = [] if words == ["--quorum", "1"] else ["--witness", str(tmp_path / "witness")]
        assert verify.main([folder, *key, *words, *witness]) == 2, words
    assert verify.main([folder, *key, "--witness", str(tmp_path / "witness"), "--quorum", "1"]) == 4
    assert verify.main([str(tmp_path / "key"), *key, "--since", str(tmp_path / "key")]) == 2
    for words in ([folder], [folder, *key, "--sinse", "x"]):
        with pytest.raises(SystemExit) as ended:
            verify.main(words)
        assert ended.value.code == 2


def test_it_runs_on_python_3_9() -> None:
    ast.parse(Path(verify.__file__).read_text(encoding="utf-8"), feature_version=(3, 9))


MANIFEST_TAMPERS = [("first", 2), ("last", 199), ("last", 201), ("origin", "x"), ("frontier", ["00" * 32])]


def test_another_thousand_tamperings_are_found(tmp_path: Path) -> None:
    """In the files, byte by byte, as they lie on a disk; and in the manifest."""
    rng, made = random.Random(9162), log_exports.made(200, every=23)
    kept = log_exports.note(made.leaves[:150], OURS)
    keys = [verify.key_of(OURS.vkey)]
    assert judged(made, tmp_path, since=kept).problems == []
    whole = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    leaves, manifest = tmp_path / "leaves" / "00000000.leaves", tmp_path / "manifest.json"
    missed = []
    for number in range(1000):
        what = rng.choice(["bit", "cut", "insert", "drop", "move", "note", "note", "notes", "manifest", "roll", "sign"])
        path = leaves if what in ("bit", "cut", "insert", "drop", "move", "roll", "sign") else manifest
        path = rng.choice(sorted((tmp_path / "checkpoints").iterdir())) if what.startswith("note") else path
        old = whole[path]
        at, length = rng.randrange(len(old)), rng.randrange(1, 40)
        if what in ("bit", "note"):
            path.write_bytes(old[:at] + bytes([old[at] ^ 1 << rng.randrange(8)]) + old[at + 1 :])
        elif what == "cut":
            path.write_bytes(old[:at])
        elif what == "insert":
            path.write_bytes(old[:at] + rng.randbytes(length) + old[at:])
        elif what == "drop":
            path.write_bytes(old[:at] + old[at + length :])
        elif what == "move":
            other = Made(list(made.leaves))
            other.leaves.insert(rng.randrange(150), other.leaves.pop(rng.randrange(151, 200)))
            other.write_leaves(tmp_path)
        elif what == "notes":  # one in another's place
            others = sorted(other for other in whole if other.parent == path.parent and other != path)
            path.write_bytes(whole[rng.choice(others)])
        elif what == "manifest":
            field, value = rng.choice(MANIFEST_TAMPERS)
            manifest.write_text(json.dumps({**made.manifest, field: value}))
        else:  # an older moment, or another history, signed by whoever has the key
            size = rng.randrange(1, 150) if what == "roll" else 200
            other = Made(made.leaves[:size], every=1000)
            if what == "sign":
                at = rng.randrange(150)
                other.leaves[at] = log_exports.edited(other.leaves[at], lambda e: e.at.FromNanoseconds(7))
            other.sign().write(tmp_path)
        if not verify.verify(tmp_path, keys, since=kept).problems:
            missed.append((number, what, path.name, at))
        if what in ("roll", "sign"):
            for found in (tmp_path / "checkpoints").iterdir():
                found.unlink()
            for one, data in whole.items():
                one.write_bytes(data)
        path.write_bytes(old)
    assert missed == []
    assert verify.verify(tmp_path, keys, since=kept).problems == []


@pytest.mark.skipif(not all(map(shutil.which, ["bash", "xxd", "openssl"])), reason="wants bash, xxd and openssl")
@pytest.mark.parametrize(("sequence", "size"), [(1, 1), (1, 2), (5, 7), (7, 7), (33, 40), (40, 40), (17, 64)])
def test_the_guide_to_verifying_by_hand(tmp_path: Path, sequence: int, size: int) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "log-format.md").read_text(encoding="utf-8")
    script = guide.split("```bash\n")[1].split("```")[0]
    proof = log_exports.proof(log_exports.made(size).leaves, sequence)
    (tmp_path / "log.vkey").write_text(OURS.vkey + "\n")
    for given, there in ((proof, True), (proof.replace(b"extra C", b"extra D"), False)):
        (tmp_path / "verdict.proof").write_bytes(given)
        report = verify.verify_proof(given, [verify.key_of(OURS.vkey)])
        said = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False).stdout
        assert ("the event is in the tree" in said, not report.problems) == (there, there)
        assert "Signature Verified Successfully" in said


def test_what_moved_is_not_called_missing(tmp_path: Path) -> None:
    made = log_exports.made(40)
    for first, second in ((9, 10), (9, 30), (10, 9)):
        moved = Made(list(made.leaves), notes=made.notes, manifest=made.manifest)
        moved.leaves.insert(first, moved.leaves.pop(second))
        assert {"LEAF_SWAPPED", "ROOT_MISMATCH"} <= kinds(judged(moved, tmp_path)) <= {
            "LEAF_SWAPPED", "ROOT_MISMATCH", "CLOCK_BACK", "REVEAL_WITHOUT_GRANT", "DESTROYED_UNDER_HOLD",
        }  # fmt: skip
    made.leaves[9] = b"\x00\x01" + made.leaves[9]  # a field numbered 0
    assert kinds(judged(made, tmp_path)) >= {"LEAF_CHANGED", "ROOT_MISMATCH"}
    assert "LEAF_MISSING" not in kinds(judged(made, tmp_path))


def test_base64_has_one_form(tmp_path: Path) -> None:
    made = log_exports.made(10)
    (name,) = made.notes
    lines = made.notes[name].split(b"\n")
    for line in (2, 4):
        end = lines[line].rstrip(b"=")
        other = bytes([end[-1] + 1])  # the same bytes, but for bits that no byte has
        made.notes[name] = b"\n".join([*lines[:line], end[:-1] + other + b"=", *lines[line + 1 :]])
        assert kinds(judged(made, tmp_path)) >= {"CHECKPOINT_CHANGED"}, line
