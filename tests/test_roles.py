"""Every RPC and every verb has one declared permission, and nothing that is not declared is allowed."""

from __future__ import annotations

import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from hashmatch import roles
from hashmatch.cli import accounts
from hashmatch.cli.main import parser
from hashmatch.errors import Malformed
from hashmatch.roles import RPCS, VERBS, Open, Role, permits
from hashmatch.v1 import cases_pb2, lists_pb2, log_pb2, match_pb2


def test_every_rpc_has_a_permission_and_no_other_is_named():
    files = (match_pb2, lists_pb2, log_pb2, cases_pb2, health_pb2, reflection_pb2)
    services = [service for file in files for service in file.DESCRIPTOR.services_by_name.values()]
    assert {f"/{s.full_name}/{m.name}" for s in services for m in s.methods} == set(RPCS)


def test_every_verb_has_a_permission_and_no_other_is_named():
    assert {name for name, _ in accounts.leaves(parser())} == set(VERBS)


@pytest.mark.parametrize("permission", [*Role, *Open, None])
def test_only_the_permission_itself_permits(permission):
    for role in Role:
        allowed = permission is role or permission in (Open.ANYONE, Open.CALLER)
        assert permits(permission, frozenset({role}), known=True) is allowed
    assert permits(permission, frozenset(), known=False) is (permission is Open.ANYONE)


def test_unknown_roles_are_named():
    with pytest.raises(Malformed, match="unknown role 'boss'"):
        roles.roles_from(["admin", "boss"], "roles")
