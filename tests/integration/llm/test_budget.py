"""Model calls on a tenant's budget: the real client, a scripted server, and PostgreSQL as the bookkeeper."""

from __future__ import annotations

import asyncio

import pytest

from morningai.db.session import Database
from morningai.llm import BudgetExhausted, ModelClient, ModelSettings, ModelUnavailable, Prompt, TenantBudget
from morningai.testing.model_script import Script, ScriptedReply
from morningai.testing.model_server import ScriptedModelServer

PROMPT = Prompt("greet", 1, "You are brief.", "Greet the world.")
ANSWER = ScriptedReply(content="hello there", prompt_tokens=40)
CUT = ScriptedReply(content="some text that breaks off", cut_after=8)
# An attempt reserves 44 tokens for the prompt with its template, and 100 for the answer.
RESERVED = 144
# The server reports 40 and counts two words.
ANSWERED = 42
SET = "INSERT INTO tenancy.limits (tenant_id, name, operator_value) VALUES ('{}', 'tokens_per_day', {})"


@pytest.fixture
async def charged(database, tenant):
    """`async with charged(script) as (client, server)`: calls charged to the tenant."""
    pool = Database(database.dsn("faqgen_app"))
    await pool.open()
    closing = []

    async def make(script, **changes):
        server = ScriptedModelServer(script)
        serving = server.serving()
        await serving.__aenter__()
        values = {"base_url": server.base_url, "model": "asked-model", "retry_base_seconds": 0.01}
        client = ModelClient.from_settings(ModelSettings.model_validate(values | changes))
        closing.extend([client.close, lambda: serving.__aexit__(None, None, None)])
        return client.charged_to(TenantBudget(pool, tenant.grant())), server

    yield make
    for close in closing:
        await close()
    await pool.close()


def used(database):
    """Calls, those charged in full, and tokens."""
    query = "SELECT calls::int, calls_in_full::int, (prompt_tokens + completion_tokens)::int FROM tenancy.usage"
    return database.rows(query)


def spent(database):
    return database.rows("SELECT reserved_tokens::int, spent_tokens::int FROM tenancy.spending WHERE period = 'day'")


def states(database):
    return sorted(state for (state,) in database.rows("SELECT state FROM tenancy.reservations"))


async def test_a_call_costs_what_the_server_reported(charged, database):
    client, _ = await charged(Script.of(ANSWER))
    await client.complete_text(PROMPT, 100)
    assert (used(database), spent(database)) == ([(1, 0, ANSWERED)], [(0, ANSWERED)])


async def test_what_is_reserved_is_the_prompt_s_estimate_and_the_longest_answer(charged, database, tenant):
    await database.change(SET.format(tenant.tenant_id, RESERVED))
    client, _ = await charged(Script.of(ANSWER))
    await client.complete_text(PROMPT, 100)
    with pytest.raises(BudgetExhausted):
        await client.complete_text(PROMPT, 100)


async def test_without_budget_left_nothing_is_sent(charged, database, tenant):
    await database.change(SET.format(tenant.tenant_id, RESERVED - 1))
    client, server = await charged(Script.of(ANSWER))
    with pytest.raises(BudgetExhausted, match="tokens_per_day") as exhausted:
        await client.complete_text(PROMPT, 100)
    assert (exhausted.value.reason, exhausted.value.budget) == ("budget_exhausted", "tokens_per_day")
    assert "Wait until the next day begins (UTC)" in exhausted.value.remedy
    assert (server.calls, states(database)) == ([], [])


async def test_a_cut_answer_is_charged_in_full_and_the_next_attempt_anew(charged, database):
    client, _ = await charged(Script.of(CUT, ANSWER))
    await client.complete_text(PROMPT, 100)
    assert states(database) == ["settled", "settled"]
    assert used(database) == [(2, 1, RESERVED + ANSWERED)]


async def test_an_attempt_that_the_budget_does_not_cover_is_not_made(charged, database, tenant):
    await database.change(SET.format(tenant.tenant_id, RESERVED + 50))
    client, server = await charged(Script.of(CUT, ANSWER))
    with pytest.raises(BudgetExhausted):
        await client.complete_text(PROMPT, 100)
    assert (len(server.calls), spent(database)) == (1, [(0, RESERVED)])


async def test_a_call_that_the_server_refused_costs_nothing(charged, database):
    client, _ = await charged(Script.of(ScriptedReply(status=503), ANSWER))
    await client.complete_text(PROMPT, 100)
    assert states(database) == ["released", "settled"]
    assert used(database) == [(1, 0, ANSWERED)]


async def test_a_server_that_is_not_there_costs_nothing(charged, database):
    client, _ = await charged(Script.of(ANSWER), base_url="http://127.0.0.1:9/v1", max_attempts=2)
    with pytest.raises(ModelUnavailable):
        await client.complete_text(PROMPT, 100)
    assert (states(database), used(database)) == (["released", "released"], [])


async def test_a_call_that_took_too_long_is_charged_in_full(charged, database):
    client, _ = await charged(Script.of(ScriptedReply(content="waiting", stall_after=3)), total_timeout_seconds=0.5)
    with pytest.raises(ModelUnavailable):
        await client.complete_text(PROMPT, 100)
    assert used(database) == [(1, 1, RESERVED)]


async def test_a_cancelled_call_is_charged_in_full(charged, database, eventually):
    client, server = await charged(Script.of(ScriptedReply(content="waiting", stall_after=3)))
    calling = asyncio.create_task(client.complete_text(PROMPT, 100))
    await eventually(lambda: server.calls)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert used(database) == [(1, 1, RESERVED)]


async def test_a_repair_is_a_call_of_its_own(charged, database):
    client, _ = await charged(Script.of(ScriptedReply(content=""), ANSWER))
    await client.complete_text(PROMPT, 100)
    assert states(database) == ["settled", "settled"]


async def test_many_calls_at_the_edge_overspend_by_nothing(charged, database, tenant):
    # A call costs less than half of the 144 it reserves, so what is settled makes room for more.
    await database.change(SET.format(tenant.tenant_id, 1_000))
    client, server = await charged(Script.of(ANSWER))
    results = await asyncio.gather(*(client.complete_text(PROMPT, 100) for _ in range(60)), return_exceptions=True)
    answered = [result for result in results if not isinstance(result, BudgetExhausted)]
    assert len(server.calls) == len(answered) < 60
    ((reserved, tokens),) = spent(database)
    assert reserved == 0
    assert tokens == sum(answer.prompt_tokens + answer.completion_tokens for answer in answered) <= 1_000


async def test_a_client_that_is_charged_to_nobody_asks_nothing(charged):
    client = ModelClient.from_settings(
        ModelSettings.model_validate({"base_url": "http://127.0.0.1:9/v1", "model": "m"})
    )
    with pytest.raises(AssertionError, match="whose budget"):
        await client.complete_text(PROMPT, 100)
    await client.close()
