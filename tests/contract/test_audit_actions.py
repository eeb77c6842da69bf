"""Whoever is refused an administrative act leaves an entry: each method that administers says as which action."""

from __future__ import annotations

import re

from morningai.rpc.call import rules_of
from services.tenancy.domain.principals import SCOPES, Role
from tests.isolation.rpcs import PUBLIC

RULES = {path: rules_of(rpc.method.containing_service.full_name)[path] for path, rpc in PUBLIC.items()}
# What no member of the role `member` holds, and is not for reading alone.
ADMINISTRATIVE = {scope for scope in SCOPES[Role.OWNER] - SCOPES[Role.MEMBER] if scope.endswith(".write")} | {
    "operator"
}


def test_the_methods_that_administer_name_their_action_and_no_others_do():
    acting = {path for path, rpc in PUBLIC.items() if rpc.scope in ADMINISTRATIVE and not rpc.reads}
    assert {path for path, rule in RULES.items() if rule.audit_action} == acting


def test_every_action_is_one_that_the_log_takes():
    actions = {rule.audit_action for rule in RULES.values()} - {""}
    assert {action for action in actions if not re.fullmatch(r"[a-z_]+\.[a-z_]+", action)} == set()
