"""Second looks by the settings of a real server: drawn as often as they say, and asked of another once overdue."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import grpc
from pictures import png

from hashmatch.types import Subject
from hashmatch.v1 import cases_pb2, cases_pb2_grpc

SHIFTED = Path(__file__).parent / "shifted_clock.py"
HOURS = 3600


def test_what_is_not_said_by_its_deadline_is_asked_of_another(deployment, tmp_path):
    shift, settings = tmp_path / "shift", tmp_path / "hashmatch.toml"
    shift.write_text("0")
    settings.write_text("[second_looks]\nbase = 1\ndeadline_hours = 2\n")
    deployment.program = [sys.executable, SHIFTED, shift]
    deployment.environ["HASHMATCH_CONFIG"] = str(settings)
    deployment.list_known((1, "pdq"))
    keys = {name: deployment.key(name, "reviewer") for name in ("ann", "rita", "bob")}
    app = deployment.key("app", "uploader")
    deployment.serve("--config", settings, "--workers", "1", "--metrics-listen", "")
    with grpc.insecure_channel(deployment.address) as channel:
        stub = cases_pb2_grpc.CaseServiceStub(channel)

        def ask(name, method, **fields):
            request = getattr(cases_pb2, f"{method}Request")(**fields)
            return getattr(stub, method)(request, metadata=(("authorization", f"Bearer {keys[name]}"),), timeout=20)

        def asked():
            return [(name, row) for name in keys for row in ask(name, "ListBlindReviews").reviews]

        with deployment.client(key=app) as client:
            case_id = client.match(png(1), subject=Subject(content_id="c1", uploader_id="u1")).case_id
        ask("ann", "ClaimCase", case_id=case_id)
        ask("ann", "DecideCase", case_id=case_id, decision=cases_pb2.DECISION_CONFIRM, reason_codes=["SEEN"])
        ((first, row),) = asked()
        assert (row.due_by.seconds - row.asked_at.seconds, row.permille, list(row.why)) == (2 * HOURS, 0, [])
        assert json.loads(deployment.run("kpi", "--json"))["second_looks"] == {"waiting": 1, "overdue": 0, "late": []}
        (tmp_path / "new").write_text(str(2 * HOURS + 1))
        os.replace(tmp_path / "new", shift)
        deployment.wait_for(lambda: [name for name, _ in asked()] not in ([], [first]))
        ((second, again),) = asked()
        assert (second in {"rita", "bob"} - {first}, again.id, list(again.lapsed)) == (True, row.id, [first])
        assert f"second look {row.id}, asked of {second}: overdue for 0:00:" in deployment.run("kpi")
        ask(second, "ReviewBlind", review_id=row.id, decision=cases_pb2.DECISION_CONFIRM)
        assert "overdue" not in deployment.run("kpi")
