"""`hashmatch lists`, as it is typed."""

from __future__ import annotations

import io
import json
import os
import random
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hashmatch.cli.main import main, parser
from hashmatch.store.lists import ListStore

VERBS = ("create", "show", "import", "diff", "activate", "rollback", "add", "remove", "lookup", "export", "policy")


def md5(number: int) -> str:
    return random.Random(number).randbytes(16).hex()


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Standard output of `hashmatch lists …`, whose exit code must be `expect`; standard error is `run.error`."""

    def run(*words: object, given: str = "", expect: int = 0) -> str:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
        code = main(["lists", str(words[0]), "--state", str(tmp_path / "state"), *map(str, words[1:])])
        run.error = (said := capsys.readouterr()).err
        assert code == expect, (code, said)
        return said.out

    return run


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table as an analyst has it: two hash columns, labels, one bad line."""
    path = tmp_path / "cases.csv"
    path.write_text(
        "MD5;SHA-1;Category;Image ID\n"
        f"{md5(1)};{'ab' * 20};A;7\n"
        f"d41d8cd98f00b204e9800998ecf8427e;;A;8\n"
        f'"{md5(2).upper()}";;"B, maybe";9\n'
    )
    return path


MAPPED = ("--map", "MD5=md5", "--map", "sha1=sha1", "--map", "Category=label", "--map", "Image ID=source_id")


def test_the_way_of_a_list(run: Callable[..., str], table: Path, tmp_path: Path) -> None:
    made = run("create", "iwf", "--operator", "IWF", "--purpose", "hotline", "--threshold", "pdq=24")
    assert "review, pdq within 24" in made
    dry = run("import", "iwf", table, *MAPPED, "--dry-run")
    assert "3     md5: the digest of the empty file" in dry
    assert dry.endswith("dry run: nothing was kept\n")
    refused = run("import", "iwf", table, *MAPPED, "--activate", expect=65)
    assert "version 1 is staged: hashmatch lists activate iwf 1" in refused
    assert "3      0        0        0" in run("diff", "iwf")
    assert "active" in run("activate", "iwf", "--reason", "line 3 is known")
    assert "2 md5, 1 sha1" in run("show")
    (shown,) = map(json.loads, run("show", "iwf", "--json").splitlines())
    assert (shown["active_version"], shown["versions"][0]["state"], shown["revision"]) == (1, "active", 3)
    added = json.loads(
        run("add", "iwf", "-", "--type", "md5", "--label", "C", "--reason", "case", "--json", given=md5(3))
    )
    assert (added["fingerprint"]["value"], added["revision"]) == (md5(3), 4)
    assert added["entry_id"] in run("lookup", "-", "--type", "md5", given=md5(3) + "\n")
    run("remove", "iwf", added["entry_id"], "--reason", "mistake")
    run("remove", "iwf", "-", "--type", "md5", "--reason", "mistake", given=md5(1))
    assert "in no list" in run("lookup", md5(1), "--type", "md5")
    assert "1 md5, 1 sha1" in run("show")
    assert "2 md5, 1 sha1" in run("rollback", "iwf", 1)
    out = tmp_path / "out.csv"
    run("export", "iwf", out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    again = json.loads(run("import", "iwf", out, "--dry-run", "--json"))
    assert again["diff"] == {"added": 0, "removed": 0, "changed": 0, "unchanged": 3}
    assert run("export", "iwf").splitlines() == sorted([f"md5 {md5(1)}", f"md5 {md5(2)}", f"sha1 {'ab' * 20}"])
    exported = [json.loads(line) for line in run("export", "iwf", "--json").splitlines()]
    assert {e["label"] for e in exported} == {"A", "B, maybe"}


def test_hex_from_standard_input(run: Callable[..., str]) -> None:
    run("create", "ours")
    done = json.loads(
        run("import", "ours", "-", "--type", "md5", "--activate", "--json", given=f"{md5(1)}\nsha1 {'ab' * 20}")
    )
    assert (done["accepted"], done["activated"], done["version"]) == (2, True, 1)


NOTHING_SAID = {
    "thresholds": {}, "shadow": False, "variants": [], "trust": "unspecified", "benign": False, "rollout_seed": "",
    "surfaces": [], "regions": [], "refresh_seconds": 0, "two_person": False,
}  # fmt: skip


def test_policy(run: Callable[..., str]) -> None:
    run("create", "ours", "--disposition", "block", "--variants", "flips,nn512")
    before = json.loads(run("policy", "ours", "--json"))["policy"]
    assert before == NOTHING_SAID | {"disposition": "block", "variants": ["flips", "nn512"]}
    run("policy", "ours", "--shadow", "--threshold", "pdq=20", "--variants", "", "--reason", "trial")
    after = json.loads(run("policy", "ours", "--json"))["policy"]
    assert after == NOTHING_SAID | {"thresholds": {"pdq": 20}, "disposition": "block", "shadow": True}
    run("policy", "ours", "--no-shadow", "--disposition", "allow")
    assert json.loads(run("show", "ours", "--json"))["policy"]["disposition"] == "allow"


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("create", "Bad Name"), 65, "want 1 to 63 of"),
        (("create", "ours"), 65, "there is a hash list named 'ours'"),
        (("create", "new", "--threshold", "pdq"), 65, "--threshold: want TYPE=BITS"),
        (("create", "new", "--threshold", "pdq=-1"), 65, "BITS a whole number"),
        (("create", "new", "--threshold", "pdq=99"), 65, "99 bits, want 0..48"),
        (("show", "none"), 65, "no hash list is named 'none'"),
        (("import", "ours", "/none"), 65, "cannot read /none: No such file"),
        (("import", "ours", "-"), 65, ""),
        (("import", "ours", "-", "--format", "csv", "--map", "md5"), 65, "--map: want COLUMN=FIELD"),
        (("import", "ours", "-", "--format", "csv"), 65, "the first line must name the columns"),
        (("activate", "ours"), 65, "nothing staged"),
        (("rollback", "ours"), 65, "no version active before"),
        (("add", "ours", "00", "--reason", "r"), 65, "2 digits, want 64"),
        (("add", "ours", "00", "--type", "md6", "--reason", "r"), 65, "unknown hash type"),
        (("remove", "ours", "a" * 16, "--reason", "r"), 65, "no such entry"),
        (("remove", "ours", "a" * 16, "--type", "md5", "--reason", "r"), 65, "16 digits, want 32"),
        (("remove", "ours", "5" * 64, "--reason", "r"), 65, "no such entry"),
        (("remove", "ours", "short", "--reason", "r"), 65, "not hexadecimal, want 64"),
        (("export", "ours"), 65, "no version of 'ours' is active"),
    ],
)
def test_what_is_refused(run: Callable[..., str], words: tuple[str, ...], code: int, why: str) -> None:
    run("create", "ours")
    run(*words, expect=code)
    assert why in run.error


def test_a_file_that_cannot_be_written(run: Callable[..., str], tmp_path: Path) -> None:
    run("create", "ours")
    run("import", "ours", "-", "--type", "md5", "--activate", given=md5(1))
    run("export", "ours", tmp_path / "none" / "out.hex", expect=74)
    (tmp_path / "out").mkdir()
    run("export", "ours", tmp_path / "out", expect=74)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".out")]


@pytest.mark.parametrize(
    "words", [("add", "ours", "00"), ("remove", "ours", "x"), ("import", "ours"), ("nothing",), ()]
)
def test_usage(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["lists", *words])
    assert ended.value.code == 2


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example_that_parses(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["lists", verb, "--help"])
    example = capsys.readouterr().out.partition("example:\n  hashmatch ")[2]
    words = example.partition("<")[0].replace("'", '"').split('"')
    plain = [word for i, part in enumerate(words) for word in ([part] if i % 2 else part.split())]
    assert plain[:2] == ["lists", verb]
    assert parser().parse_args(plain).run


SERVER = """
import json, os, socket, sys
from hashmatch.cli.main import main, parser
parser("lists")  # imports the verb
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen()
print("listening", flush=True)
while True:
    caller, _ = listening.accept()
    message, descriptors, _, _ = socket.recv_fds(caller, 1 << 20, 3)
    pid = os.fork()
    if pid == 0:
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        words, directory, environment = json.loads(message)
        os.chdir(directory)
        os.environ.clear()
        os.environ.update(environment)
        code = 1
        try:
            code = main(words)
        except SystemExit as e:
            code = e.code
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    for descriptor in descriptors:
        os.close(descriptor)
    caller.send(bytes([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 255]))
    caller.close()
"""

CALLER = """#!{python} -SE
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
message = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)])
socket.send_fds(server, [message.encode()], [0, 1, 2])
sys.exit(server.recv(1)[0])
"""


@pytest.fixture
def quick_command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with a `hashmatch` that runs the real one in a fork of a process that has imported it already."""
    directory = tmp_path_factory.mktemp("bin")
    address = directory / "socket"
    command = directory / "hashmatch"
    command.write_text(CALLER.format(python=sys.executable, address=str(address)))
    command.chmod(0o700)
    with subprocess.Popen([sys.executable, "-c", SERVER, str(address)], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"listening\n"
        yield directory
        server.terminate()


def test_the_guide_can_be_followed_literally(tmp_path: Path, quick_command: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "lists.md").read_text("utf-8")
    commands = "".join(re.findall(r"```sh\n(.*?)```", guide, re.DOTALL))
    environment = {**os.environ, "PATH": f"{quick_command}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", commands], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "3     md5: the digest of the empty file" in done.stdout
    assert (tmp_path / "hotline.csv").read_text().count("\n") == 4
    assert (tmp_path / "first.hex").read_text().count("\n") == 3


def test_a_reader_sees_what_another_process_writes(tmp_path: Path, quick_command: Path) -> None:
    state = tmp_path / "state"
    environment = {**os.environ, "HASHMATCH_STATE": str(state)}
    command = [quick_command / "hashmatch", "lists"]
    subprocess.run([*command, "create", "ours"], env=environment, check=True, capture_output=True)
    store = ListStore(state, readonly=True)
    seen = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            with store.view() as view:
                record = view.list("ours")
                if record.active_version:
                    version = view.version(record.list_number, record.active_version)
                    seen.append((view.revision, sum(1 for _ in view.rows(record.list_number, version, "md5"))))

    reader = threading.Thread(target=read)
    reader.start()
    marks = [store.mark()]
    for size in (500, 900, 100):
        text = "".join(f"md5 {md5(number)}\n" for number in range(size))
        subprocess.run(
            [*command, "import", "ours", "-", "--activate"],
            env=environment,
            check=True,
            capture_output=True,
            input=text.encode(),
        )
        marks.append(store.mark())
    with store.view() as view:
        assert view.revision == 4
    stop.set()
    reader.join()
    store.close()
    assert sorted(set(marks)) == marks
    assert seen == sorted(seen, key=lambda one: one[0])
    assert set(seen) <= {(2, 500), (3, 900), (4, 100)}
    assert seen
