"""The policy of a real server, changed by two people over the wire and by the command line alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from pictures import png

from hashmatch.audit.ledger import Ledger
from hashmatch.server.case_calls import THREADS
from hashmatch.types import Subject
from hashmatch.v1 import cases_pb2, cases_pb2_grpc
from hashmatch.v1.cases_pb2 import POLICY_STATE_FORMER, POLICY_STATE_IN_FORCE, POLICY_STATE_PROPOSED
from hashmatch.workflow import policy_file
from hashmatch.workflow.policy_store import PolicyStore

BUILT_IN = policy_file.text_of(None)
OTHER = BUILT_IN.replace('acknowledge = "1h"', 'acknowledge = "30m"')
THIRD = BUILT_IN.replace('acknowledge = "1h"', 'acknowledge = "20m"')
WRONG = BUILT_IN.replace('acknowledge = "1h"', 'acknowledge = "30d"')  # longer than that of what is less urgent
PEOPLE = {
    "app": ("uploader", "detail"), "ana": ("analyst", "approver"), "apu": ("analyst", "approver"), "rev": ("reviewer",),
    "aud": ("auditor",), "dis": ("le-liaison",),
}  # fmt: skip


@pytest.fixture
def opened(deployment):
    """Calls CaseService of a server as one of the people."""

    def serve(*flags, **environ):
        deployment.environ |= environ
        deployment.keys = {name: deployment.key(name, *roles) for name, roles in PEOPLE.items()}
        deployment.serve("--workers", "1", *flags)
        channel = grpc.insecure_channel(deployment.address)
        stub = cases_pb2_grpc.CaseServiceStub(channel)

        def ask(name, method, **fields):
            request = getattr(cases_pb2, f"{method}Request")(**fields)
            key = (("authorization", f"Bearer {deployment.keys[name]}"),) if name else ()
            return getattr(stub, method)(request, metadata=key, timeout=20)

        channels.append(channel)
        return ask

    channels = []
    yield serve
    for channel in channels:
        channel.close()


def refused(code, call, *args, **fields):
    with pytest.raises(grpc.RpcError) as e:
        call(*args, **fields)
    assert e.value.code() is code, e.value.details()
    return e.value


def field_of(error):
    for detail in rpc_status.from_call(error).details:
        if detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            found = error_details_pb2.BadRequest()
            detail.Unpack(found)
            return found.field_violations[0].field
    return None


def test_two_persons_change_the_policy_over_the_wire(opened, deployment):
    ask = opened()
    first = ask("rev", "GetPolicy")
    assert first.policy == BUILT_IN
    assert not first.HasField("proposal")
    for who, method in (("app", "GetPolicy"), ("app", "ListPolicies"), ("rev", "ProposePolicy")):
        refused(grpc.StatusCode.PERMISSION_DENIED, ask, who, method)
    refused(grpc.StatusCode.UNAUTHENTICATED, ask, "", "ProposePolicy", policy=OTHER, reason="quicker")

    proposed = ask("ana", "ProposePolicy", policy=OTHER, reason="quicker").policy
    assert (proposed.by, proposed.approver, proposed.reason) == ("ana", "", "quicker")
    assert proposed.state == POLICY_STATE_PROPOSED
    assert ask("rev", "GetPolicy").policy == BUILT_IN
    waits = ask("apu", "GetPolicy", proposed=True)
    assert (waits.policy, waits.version, waits.proposal) == (OTHER, proposed.version, proposed)
    same = refused(grpc.StatusCode.FAILED_PRECONDITION, ask, "ana", "ApprovePolicy", version=proposed.version)
    assert "another person" in same.details()
    refused(grpc.StatusCode.NOT_FOUND, ask, "apu", "ApprovePolicy", version="0" * 12)
    refused(grpc.StatusCode.PERMISSION_DENIED, ask, "rev", "ApprovePolicy", version=proposed.version)
    given = ask("apu", "ApprovePolicy", version=proposed.version[:12]).policy
    assert (given.by, given.approver, given.state) == ("ana", "apu", POLICY_STATE_IN_FORCE)

    assert ask("rev", "GetPolicy").policy == OTHER
    assert ask("rev", "GetPolicy", version=first.version[:8]).policy == BUILT_IN
    listed = ask("rev", "ListPolicies").policies
    assert [(one.version, one.by, one.state) for one in listed] == [
        (proposed.version, "ana", POLICY_STATE_IN_FORCE), (first.version, "settings", POLICY_STATE_FORMER),
    ]  # fmt: skip
    assert [row["version"] for row in deployment.json("policy", "list")] == [proposed.version, first.version]
    assert deployment.json("policy", "show")[0]["version"] == proposed.version


def test_what_one_proposes_is_taken_back_or_refused(opened, deployment):
    ask = opened()
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    wrong = BUILT_IN.replace('report = "unreviewed"', 'report = "at once"', 1)
    for text in (wrong, "", "nonsense", "a = " + "[" * 100_000, "#" * ((1 << 20) + 1)):
        assert field_of(refused(invalid, ask, "ana", "ProposePolicy", policy=text, reason="r")) == "policy"
    assert field_of(refused(invalid, ask, "ana", "ProposePolicy", policy=OTHER)) == "reason"
    assert field_of(refused(invalid, ask, "ana", "GetPolicy", version="ab")) == "version"
    assert field_of(refused(invalid, ask, "ana", "GetPolicy", version="0" * 64, proposed=True)) == "version"
    refused(grpc.StatusCode.FAILED_PRECONDITION, ask, "ana", "ProposePolicy", policy=BUILT_IN, reason="r")
    for method, fields in (("GetPolicy", {"proposed": True}), ("GetPolicy", {"version": "0" * 64}),
                           ("WithdrawPolicy", {})):  # fmt: skip
        refused(grpc.StatusCode.NOT_FOUND, ask, "ana", method, **fields)
    version = ask("ana", "ProposePolicy", policy=OTHER, reason="quicker").policy.version
    refused(grpc.StatusCode.NOT_FOUND, ask, "ana", "WithdrawPolicy", version="0" * 12)
    assert ask("apu", "WithdrawPolicy", version=version[:12]).policy.version == version
    assert [one.state for one in ask("ana", "ListPolicies").policies] == [POLICY_STATE_IN_FORCE]
    refused(grpc.StatusCode.NOT_FOUND, ask, "apu", "ApprovePolicy", version=version)

    deployment.run("policy", "propose", "--reason", "by the command line", given="", expect=65)  # it is in force
    path = deployment.state.parent / "third.toml"
    path.write_text(THIRD)
    deployment.run("policy", "propose", path, "--reason", "by the command line")
    proposal = ask("ana", "GetPolicy").proposal
    assert proposal.reason == "by the command line"
    assert ask("apu", "ApprovePolicy", version=proposal.version).policy.approver == "apu"


def test_where_one_person_is_enough_it_is_in_force_at_once(opened):
    ask = opened(HASHMATCH_POLICY_PERSONS="1")
    made = ask("ana", "ProposePolicy", policy=OTHER, reason="quicker").policy
    assert (made.state, made.by, made.reason) == (POLICY_STATE_IN_FORCE, "ana", "quicker")
    assert ask("rev", "GetPolicy").policy == OTHER


def test_a_policy_is_checked_and_a_verdict_explained_as_by_the_verbs(opened, deployment):
    deployment.list_known((1, "pdq"))
    deployment.run("lists", "policy", "known", "--trust", "verified", "--disposition", "block", "--reason", "theirs")
    ask = opened()
    for who, method in (("rev", "CheckPolicy"), ("rev", "ExplainVerdict"), ("ana", "ExplainVerdict")):
        refused(grpc.StatusCode.PERMISSION_DENIED, ask, who, method)
    fine = ask("ana", "CheckPolicy", policy=OTHER)
    assert (fine.version, fine.rules > 0) == (policy_file.parse(OTHER).version, True)
    assert not any(one.error for one in fine.findings)
    (path := deployment.state.parent / "odd.toml").write_text(
        BUILT_IN + '\n[[rule]]\nname = "never"\nlists = ["none"]\ntier = 3\nreason = "r"\n'
    )
    found = ask("ana", "CheckPolicy", policy=path.read_text()).findings
    told = deployment.json("policy", "check", path, expect=None)
    assert found
    assert [(one.where, one.what, one.error) for one in found] == [tuple(row.values()) for row in told]
    assert field_of(refused(grpc.StatusCode.INVALID_ARGUMENT, ask, "ana", "CheckPolicy", policy="x ="))

    with deployment.client(key=deployment.keys["app"]) as client:
        verdict_id = client.match(png(1), subject=Subject(content_id="c1", uploader_id="u1")).verdict_id
    why = ask("aud", "ExplainVerdict", verdict_id=verdict_id)
    (row,) = deployment.json("policy", "explain", verdict_id)
    assert (list(why.lines), list(why.rules), why.policy_version) == (row["lines"], row["rules"], row["policy_version"])
    assert cases_pb2.Tier.Name(why.tier) == f"TIER_{row['tier']}"
    other = ask("aud", "ExplainVerdict", verdict_id=verdict_id, policy=OTHER)
    assert other.policy_version == policy_file.parse(OTHER).version
    refused(grpc.StatusCode.NOT_FOUND, ask, "aud", "ExplainVerdict", verdict_id="v_none")
    with closing(Ledger(deployment.state, readonly=True)) as ledger:
        reads = [e.log_read for e in ledger.events(limit=1000) if e.HasField("log_read")]
    assert ("aud", f"verdict {verdict_id}") in [(one.by, one.filter) for one in reads if one.how == "ExplainVerdict"]


def test_what_takes_long_waits_for_no_step_of_a_case_and_no_transaction(opened, deployment):
    ask = opened()
    wrong = deployment.state.parent / "wrong.toml"
    wrong.write_text(WRONG)
    with ThreadPoolExecutor(THREADS) as others:
        with closing(Ledger(deployment.state)) as ledger, ledger.changing():
            steps = [others.submit(ask, "rev", "ClaimCase", case_id="c_none") for _ in range(THREADS)]
            for number in range(3):  # the last at least comes after the threads of the steps are taken
                assert any(one.error for one in ask("ana", "CheckPolicy", policy=f"{WRONG}# {number}").findings)
            refused(grpc.StatusCode.INVALID_ARGUMENT, ask, "ana", "ProposePolicy", policy=WRONG, reason="r")
            disclosing = ask("dis", "DiscloseInquiry", inquiry_id="i_none")  # which may have to fetch media
            refused(grpc.StatusCode.NOT_FOUND, list, disclosing)
            deployment.run("policy", "propose", wrong, "--reason", "r", expect=78)
            assert not any(step.done() for step in steps)
        for step in steps:
            assert step.exception().code() is grpc.StatusCode.NOT_FOUND


def test_what_is_proposed_is_checked_before_the_transaction_that_puts_it_into_force(opened, deployment):
    ask = opened()
    version = ask("ana", "ProposePolicy", policy=OTHER, reason="quicker").policy.version
    with closing(Ledger(deployment.state)) as ledger:
        with ledger.changing() as log:  # as by a version that held policies against fewer rules
            PolicyStore(ledger.env)._rows.put(log.txn, b"text\0" + version.encode(), WRONG)
        with ledger.changing():
            refused(grpc.StatusCode.FAILED_PRECONDITION, ask, "apu", "ApprovePolicy", version=version)
    deployment.run("policy", "approve", version, expect=78)
