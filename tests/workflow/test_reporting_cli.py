"""`hashmatch reports` on a real state directory, and `hashmatch simulate cybertipline` as a process."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from hashmatch import clock
from hashmatch.audit.ledger import Ledger
from hashmatch.cli import options, reports, simulate
from hashmatch.delivery.cybertip.client import CyberTipline
from hashmatch.delivery.cybertip.service import Credentials
from hashmatch.delivery.cybertip.terms import Environment
from hashmatch.errors import HashmatchError, Malformed, NotFound, Refused

from .reporting import Office, office
from .test_reporting import KEPT, two


def parser():
    top = argparse.ArgumentParser(prog="hashmatch")
    verbs = top.add_subparsers(required=True)
    reports.add_parser(verbs)
    simulate.add_parser(verbs)
    return top


def leaves(top, name="hashmatch"):
    nested = [a for a in top._actions if isinstance(a, argparse._SubParsersAction)]
    if not nested:
        yield name, top
    for action in nested:
        for verb, sub in action.choices.items():
            yield from leaves(sub, f"{name} {verb}")


LEAVES = dict(leaves(parser()))


@pytest.mark.parametrize("name", LEAVES)
def test_every_verb_has_help_whose_examples_parse(name):
    verb = LEAVES[name]
    assert "example" in verb.epilog
    assert {"--json", "--state"} <= {option for action in verb._actions for option in action.option_strings}
    lines = [line.strip() for line in verb.epilog.splitlines() if line.startswith("  hashmatch ")]
    assert lines
    for line in lines:
        parser().parse_args(shlex.split(line)[1:])


@pytest.fixture
def run(capsys):
    def run(state, *words):
        args = parser().parse_args([*words, "--state", str(state)])
        args.settings = options.loaded(args).settings
        args.state = args.settings.state
        assert args.run(args) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def failed(tmp_path):
    """A state directory with a report that waits for a person, and its id."""
    with office(tmp_path, kept=KEPT) as one:
        row = two(one, ip="300.1.2.3")
        one.drain(one.tipline.clock.advance)
    return tmp_path, row.id


def test_a_report_that_waits_is_listed_shown_mended_and_goes_on(failed, run):
    state, report_id = failed
    listed = run(state, "reports", "list", "--in", "FAILED")
    assert report_id in listed
    assert "NCMEC (test)" in listed
    assert "ipAddress: want an IPv4 or IPv6 address" in listed
    assert "300.1" not in listed
    assert run(state, "reports", "list", "--in", "FINISHED") == "no reports\n"
    shown = json.loads(run(state, "reports", "show", report_id, "--json"))
    assert (shown["state"], shown["authority"], shown["receipt_number"]) == ("failed", "NCMEC (test)", "")
    assert shown["waits_for_a_person"]
    assert "problem: " in run(state, "reports", "show", report_id)
    assert "when a person acts" in run(state, "reports", "list")
    with pytest.raises(Malformed):
        run(state, "reports", "resume", report_id, "--omit", "shoe_size")
    assert "goes on: QUEUED" in run(state, "reports", "resume", report_id, "--omit", "ip")
    with pytest.raises(Refused):
        run(state, "reports", "resume", report_id)
    assert "left out by a person: ip" in run(state, "reports", "show", report_id)
    with office(state, kept=KEPT) as one:
        one.drain(one.tipline.clock.advance)
        (number,) = one.tipline.reports
    shown = json.loads(run(state, "reports", "list", "--json"))
    assert (shown["state"], shown["receipt_number"]) == ("finished", f"{number} (test)")
    assert not any(file["md5"] for file in shown["files"])
    assert f"as {number} (test)" in run(state, "reports", "show", report_id)


def test_one_is_withdrawn(failed, run):
    state, report_id = failed
    assert json.loads(run(state, "reports", "withdraw", report_id, "--json"))["state"] == "retracted"
    with pytest.raises(NotFound):
        run(state, "reports", "withdraw", "r_0.0")


def test_reading_is_logged_and_changes_are(failed, run):
    state, report_id = failed
    run(state, "reports", "show", report_id)
    run(state, "reports", "withdraw", report_id)
    ledger = Ledger(state, readonly=True)
    events = ledger.events(limit=1000)
    ledger.close()
    assert [e.log_read.how for e in events if e.HasField("log_read")] == ["reports show"]
    assert [e.reported.state for e in events if e.HasField("reported")][-1] == "RETRACTED"


# ── simulate ────────────────────────────────────────────────────────────────────────────────────────────────────────

PROGRAM = """\
import sys
from workflow.test_reporting_cli import parser
args = parser().parse_args(sys.argv[1:])
sys.exit(args.run(args))
"""


@contextmanager
def started(*words):
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "simulate", "cybertipline", *words], text=True,
        cwd=os.path.join(os.path.dirname(__file__), ".."), stdout=subprocess.PIPE, env=buffered,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:  # a test that fails must not wait for it for ever
            process.kill()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_imitation_says_where_it_is_answers_and_ends_when_told(how):
    with started("--json", "--user", "me", "--password", "mine", "--faults", "status:503@1") as process:
        said = json.loads(process.stdout.readline())
        assert said["user"] == "me"
        credentials = Credentials(Environment.TEST, "me", "mine")
        with CyberTipline(credentials, base_url=said["url"]) as client:
            with pytest.raises(HashmatchError):
                client.status()
            assert client.status().code == 0
        process.send_signal(how)
        assert process.wait(10) == 0


def test_it_takes_reports_of_a_state_directory(tmp_path):
    with started("--user", "tester") as process:
        url = next(word for word in process.stdout.readline().split() if word.startswith("http://"))
        one = Office(tmp_path, clock.now, url, kept=KEPT)
        row = two(one)
        while one.reporting.run_due():
            pass
        assert one.states(row.id)[-1] == "FINISHED"
        one.close()
        process.terminate()
        assert process.wait(10) == 0


def test_a_user_with_a_colon_and_faults_that_are_none_are_refused():
    for words in (["--user", "a:b"], ["--faults", "nonsense"]):
        args = parser().parse_args(["simulate", "cybertipline", *words])
        with pytest.raises(HashmatchError):
            args.run(args)
