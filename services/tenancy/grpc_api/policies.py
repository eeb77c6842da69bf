"""PolicyService."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from morningai.api.tenants.v1 import policies_pb2 as api
from morningai.api.tenants.v1 import policies_pb2_grpc
from morningai.db.session import Database
from morningai.rpc.call import Context, rpc_session
from morningai.rpc.time import timestamp
from services.tenancy.domain.policies import ApprovalPolicy, check_policy
from services.tenancy.repository import policies as repository


class PolicyServicer(policies_pb2_grpc.PolicyServiceServicer):
    def __init__(self, database: Database) -> None:
        self._database = database

    async def GetApprovalPolicy(self, request: api.GetApprovalPolicyRequest, context: Context) -> api.ApprovalPolicy:
        async with rpc_session(self._database) as session:
            return _message(await repository.get_policy(session))

    async def SetApprovalPolicy(self, request: api.SetApprovalPolicyRequest, context: Context) -> api.ApprovalPolicy:
        given = request.approval_policy
        policy = check_policy(
            publishing=given.publishing,
            tokens_per_task=given.tokens_per_task,
            money_per_task=given.money_per_task,
            self_approval=given.self_approval,
            lifetime_seconds=given.lifetime.seconds,
            unapproved_delivery=given.unapproved_delivery,
        )
        async with rpc_session(self._database) as session:
            await repository.set_policy(session, policy)
            return _message(await repository.get_policy(session))


def _message(policy: ApprovalPolicy) -> api.ApprovalPolicy:
    return api.ApprovalPolicy(
        publishing=policy.publishing,
        tokens_per_task=policy.tokens_per_task or 0,
        money_per_task=policy.money_per_task or 0,
        self_approval=policy.self_approval,
        lifetime=Duration(seconds=policy.lifetime_seconds),
        unapproved_delivery=policy.unapproved_delivery,
        set_time=timestamp(policy.set_at),
    )
