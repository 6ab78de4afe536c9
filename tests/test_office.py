"""What is told when what works the cases is plugged together."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from hashmatch import config, office
from hashmatch.audit.ledger import Ledger

from .workflow.receivers import SECRET

DESTINATION = """
[[destination]]
name = "platform"
url = "https://platform.example/hook"
secrets = "{secrets}"
"""


def wired(state: Path, workflow: str, *, serving: bool = True) -> None:
    file = state / "workflow.toml"
    secrets = state / "secrets"
    secrets.write_text(SECRET)
    secrets.chmod(0o600)
    file.write_text(workflow.replace("{secrets}", str(secrets)))
    settings = config.Settings(state=state, workflow=file if workflow else None)
    with closing(Ledger(state)) as ledger:
        office.casework(ledger, settings, serving=serving)


def test_verbs_of_the_policy_that_no_destination_takes_are_told_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wired(tmp_path, DESTINATION + 'verbs = ["restrict", "page"]\n')
    (said,) = [record.getMessage() for record in caplog.records]
    assert "preserve" in said
    assert "nobody is asked" in said
    assert "page" not in said
    assert "restrict" not in said


@pytest.mark.parametrize(("workflow", "serving"), [("", True), (DESTINATION + 'verbs = ["restrict"]\n', False)])
def test_who_asks_nobody_or_does_not_serve_is_not_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, workflow: str, serving: bool
) -> None:
    wired(tmp_path, workflow, serving=serving)
    assert caplog.records == []
