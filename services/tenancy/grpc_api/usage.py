"""UsageService."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from morningai.api.tenants.v1 import usage_pb2 as api
from morningai.api.tenants.v1 import usage_pb2_grpc
from morningai.db.session import Database
from morningai.errors import InvalidInput, NotFound
from morningai.rpc.call import Context, rpc_session
from services.tenancy.domain.usage import Group, Limit, Price, Used, check_period, check_price, check_value
from services.tenancy.repository import usage as repository

MOST_ROWS = 500
MOST_CHANGES = 100
GROUPS = {
    api.USAGE_GROUP_UNSPECIFIED: Group.DAY,
    api.USAGE_GROUP_DAY: Group.DAY,
    api.USAGE_GROUP_MONTH: Group.MONTH,
    api.USAGE_GROUP_TASK: Group.TASK,
    api.USAGE_GROUP_MODEL: Group.MODEL,
}
TENANT_REMEDY = "Give 'tenants/' and the id that `tenant create` showed."


class UsageServicer(usage_pb2_grpc.UsageServiceServicer):
    def __init__(self, database: Database) -> None:
        self._database = database

    async def GetUsage(self, request: api.GetUsageRequest, context: Context) -> api.GetUsageResponse:
        period = check_period(request.start_date, request.end_date, today=datetime.now(UTC).date())
        group = GROUPS.get(request.group)
        if group is None:
            raise InvalidInput("group", "is unknown.", remedy="Use day, month, task or model.")
        async with rpc_session(self._database) as session:
            rows = await repository.list_usage(session, group, period, limit=MOST_ROWS)
            total = await repository.get_total(session, period)
        return api.GetUsageResponse(rows=[_row(used) for used in rows], total=_row(total))

    async def ListLimits(self, request: api.ListLimitsRequest, context: Context) -> api.ListLimitsResponse:
        async with rpc_session(self._database) as session:
            return api.ListLimitsResponse(limits=_messages(await repository.list_limits(session)))

    async def UpdateLimits(self, request: api.UpdateLimitsRequest, context: Context) -> api.UpdateLimitsResponse:
        changes = _changes(request.changes)
        async with rpc_session(self._database) as session:
            for name, value in changes:
                if not await repository.set_own_limit(session, name, value):
                    remedy = "Set tokens_per_day, tokens_per_month, money_per_day or money_per_month."
                    raise InvalidInput("changes.name", f"'{name}' is not a budget.", remedy=remedy)
            return api.UpdateLimitsResponse(limits=_messages(await repository.list_limits(session)))

    async def UpdateTenantLimits(
        self, request: api.UpdateTenantLimitsRequest, context: Context
    ) -> api.UpdateTenantLimitsResponse:
        tenant_id = _tenant_id(request.tenant)
        changes = _changes(request.changes)
        async with rpc_session(self._database) as session:
            if not await repository.list_operator_limits(session, tenant_id):
                raise NotFound("tenant", request.tenant, remedy=TENANT_REMEDY)
            for name, value in changes:
                if not await repository.set_operator_limit(session, tenant_id, name, value):
                    raise InvalidInput(
                        "changes.name", f"'{name}' is not a limit.", remedy="Send no change to list them."
                    )
            return api.UpdateTenantLimitsResponse(
                limits=_messages(await repository.list_operator_limits(session, tenant_id))
            )

    async def UpdateModelPrice(self, request: api.UpdateModelPriceRequest, context: Context) -> api.ModelPrice:
        sent = request.price
        price = check_price(Price(sent.model, sent.prompt_price, sent.completion_price))
        async with rpc_session(self._database) as session:
            await repository.set_model_price(session, price)
        return sent


def _changes(changes: Iterable[api.LimitChange]) -> list[tuple[str, int | None]]:
    named = [(change.name, check_value(change.value if change.HasField("value") else None)) for change in changes]
    if len(named) > MOST_CHANGES:
        raise InvalidInput("changes", f"are {len(named)}.", remedy=f"Send {MOST_CHANGES} at most.")
    for name, _ in named:
        if not name.replace("_", "").isalpha() or not name.isascii():
            raise InvalidInput("changes.name", "is not the name of a limit.", remedy="Use a name that is listed.")
    return named


def _tenant_id(name: str) -> UUID:
    try:
        return UUID(name.removeprefix("tenants/"))
    except ValueError as error:
        raise NotFound("tenant", name, remedy=TENANT_REMEDY) from error


def _row(used: Used) -> api.UsageRow:
    return api.UsageRow(**vars(used))


def _messages(limits: Iterable[Limit]) -> list[api.Limit]:
    return [api.Limit(**{name: value for name, value in vars(limit).items() if value is not None}) for limit in limits]
