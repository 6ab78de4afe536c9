"""CaseService, of the policy: what follows from a match, read, proposed and agreed to."""

from __future__ import annotations

from itertools import islice

from hashmatch import clock, convert
from hashmatch.access.callers import CALLER
from hashmatch.app import Service
from hashmatch.audit.leaves import Appending
from hashmatch.errors import BadConfig, Forbidden, Malformed
from hashmatch.roles import Role
from hashmatch.server.case_calls import MAX_PAGE, CaseCalls, Context, person
from hashmatch.v1 import cases_pb2
from hashmatch.v1.audit_pb2 import Event
from hashmatch.v1.cases_pb2 import PolicyFinding, PolicyRecord, Tier
from hashmatch.workflow import policy_check, policy_file
from hashmatch.workflow.casework import Casework
from hashmatch.workflow.policy_store import PolicyStore, check_proposed
from hashmatch.workflow.policy_trial import explained

READERS = frozenset(Role) - {Role.UPLOADER, Role.DETAIL}
"""People, whatever they do here. Who only uploads is told of no list and no threshold, and a policy names both."""


class PolicyCalls(CaseCalls):
    """Calls about the policy."""

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._lists = service.store

    async def GetPolicy(self, request: cases_pb2.GetPolicyRequest, context: Context) -> cases_pb2.GetPolicyResponse:
        convert.refuse_unknown_fields(request)
        _reader()

        def read() -> cases_pb2.GetPolicyResponse:
            with self._ledger.env.read() as txn:
                shown = PolicyStore(self._ledger.env).shown(txn, request.version, proposed=request.proposed)
            return cases_pb2.GetPolicyResponse(
                policy=shown.text, version=shown.version, meaning=shown.meaning,
                proposal=shown.proposal.record() if shown.proposal is not None else None,
            )  # fmt: skip

        return await self._threads.run(read)

    async def ListPolicies(
        self, request: cases_pb2.ListPoliciesRequest, context: Context
    ) -> cases_pb2.ListPoliciesResponse:
        convert.refuse_unknown_fields(request)
        _reader()

        def read() -> cases_pb2.ListPoliciesResponse:
            with self._ledger.env.read() as txn:
                found = PolicyStore(self._ledger.env).records(txn)
                return cases_pb2.ListPoliciesResponse(policies=islice(found, MAX_PAGE))

        return await self._threads.run(read)

    async def ProposePolicy(
        self, request: cases_pb2.ProposePolicyRequest, context: Context
    ) -> cases_pb2.ProposePolicyResponse:
        convert.refuse_unknown_fields(request)
        by = person()

        def step(log: Appending, _cases: Casework) -> PolicyRecord:
            return PolicyStore(self._ledger.env).change(log, request.policy, by=by, reason=request.reason)

        try:
            # Before the transaction: to hold each rule against all others may take seconds, and verdicts wait for it.
            await self._fetching.run(policy_file.accepted, request.policy)
            return cases_pb2.ProposePolicyResponse(policy=await self._step(step))
        except BadConfig as e:  # of the caller, not of this server
            raise Malformed(str(e), field="policy") from e

    async def ApprovePolicy(
        self, request: cases_pb2.ApprovePolicyRequest, context: Context
    ) -> cases_pb2.ApprovePolicyResponse:
        convert.refuse_unknown_fields(request)
        by = person()

        def step(log: Appending, _cases: Casework) -> PolicyRecord:
            store = PolicyStore(self._ledger.env)
            store.approve(log, request.version, by=by)
            return next(store.records(log.txn))

        await self._fetching.run(check_proposed, self._ledger.env)
        return cases_pb2.ApprovePolicyResponse(policy=await self._step(step))

    async def WithdrawPolicy(
        self, request: cases_pb2.WithdrawPolicyRequest, context: Context
    ) -> cases_pb2.WithdrawPolicyResponse:
        convert.refuse_unknown_fields(request)
        by = person()

        def step(log: Appending, _cases: Casework) -> PolicyRecord:
            return PolicyStore(self._ledger.env).withdraw(log, request.version, by=by).record()

        return cases_pb2.WithdrawPolicyResponse(policy=await self._step(step))

    async def CheckPolicy(
        self, request: cases_pb2.CheckPolicyRequest, context: Context
    ) -> cases_pb2.CheckPolicyResponse:
        convert.refuse_unknown_fields(request)

        def read() -> cases_pb2.CheckPolicyResponse:
            policy = policy_file.parse(request.policy)
            with self._lists.view() as view:
                lists = [record.name for record in view.lists()]
            return cases_pb2.CheckPolicyResponse(
                findings=[
                    PolicyFinding(where=one.where, what=one.what, error=one.error)
                    for one in policy_check.check(policy, lists=lists, now=clock.now())
                ],
                version=policy.version, meaning=policy.meaning, rules=len(policy.rules),
            )  # fmt: skip

        return await self._fetching.run(read)

    async def ExplainVerdict(
        self, request: cases_pb2.ExplainVerdictRequest, context: Context
    ) -> cases_pb2.ExplainVerdictResponse:
        convert.refuse_unknown_fields(request)
        by = person()

        def read() -> cases_pb2.ExplainVerdictResponse:
            with self._ledger.env.read() as txn:
                text = request.policy or PolicyStore(self._ledger.env).shown(txn).text
            policy = policy_file.parse(text)
            event = Event()
            said = event.log_read
            said.by, said.how, said.filter = by, "ExplainVerdict", f"verdict {request.verdict_id[:64]}"
            with self._ledger.changing() as log:
                said.first, said.last = 1, log.size
                log.append(event)
            decision, lines = explained(self._ledger, policy, request.verdict_id, clock.now())
            told = cases_pb2.ExplainVerdictResponse(
                policy_version=policy.version, policy_meaning=policy.meaning, lines=lines,
                nothing=decision.why_nothing or "",
            )  # fmt: skip
            if (plan := decision.plan) is not None:
                told.tier, told.authority, told.withheld = Tier.ValueType(plan.tier + 1), plan.authority, plan.withheld
                told.rules.extend(plan.rules)
                if plan.disposition is not None:
                    told.disposition = convert.disposition_to_wire(plan.disposition)
            return told

        return await self._threads.run(read)


def _reader() -> None:
    if not READERS & CALLER.get().roles:
        raise Forbidden(f"a policy is shown to who has one of {', '.join(sorted(READERS))}")
