"""DeadLetterService behind the gateway: a tenant sees and decides its own, an operator sees that there are others."""

from __future__ import annotations

from uuid import UUID, uuid4

import grpc
import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.api.tenants.v1 import audit_pb2 as audit
from morningai.api.tenants.v1 import dead_letters_pb2 as api
from morningai.api.tenants.v1 import keys_pb2 as keys
from tests.integration.gateway.platform import OPERATOR_KEY

INSERT = """
INSERT INTO {}.dead_letters
  (tenant_id, message_id, consumer, type, subject, headers, body, reason, error, deliveries, trace_id)
VALUES (%s, %s, %s, 'morningai.api.events.v1.ChangeGenerated', 's', %s, %s, 'POISON', 'secret words', 3, 'aaaa')
RETURNING consumer || '.' || message_id
"""
SAYS = events.ChangeGenerated(state="verified")
NOBODY = UUID(int=0)


@pytest.fixture
async def owner(connect, acme):
    return await connect(acme.api_key)


@pytest.fixture
async def operator(connect):
    return await connect(OPERATOR_KEY)


@pytest.fixture
def bury(platform, acme):
    """The name of a new dead letter of a service."""

    def bury(service="orchestrator", *, tenant_id=acme.tenant_id):
        headers, body = '{"ce-subject": "tasks/1"}', SAYS.SerializeToString()
        rows = platform.database.rows(INSERT.format(service), tenant_id, uuid4(), f"{service}-replies", headers, body)
        return f"deadLetters/{rows[0][0]}"

    return bury


async def listed(client, **given):
    filter_ = api.DeadLetterFilter(**given.pop("filter", {}))
    return await client.dead_letters.ListDeadLetters(api.ListDeadLettersRequest(filter=filter_, **given))


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), error.value.details()


async def test_a_tenant_s_letters_are_listed_newest_first_in_pages(owner, bury):
    names = [bury(service) for service in ("orchestrator", "docs", "gateway")]
    first = await listed(owner, page_size=2)
    second = await listed(owner, page_size=2, page_token=first.next_page_token)
    found = [*first.dead_letters, *second.dead_letters]
    assert [letter.name for letter in found] == names[::-1]
    assert {(letter.reason, letter.trace_id, letter.task) for letter in found} == {("POISON", "aaaa", "tasks/1")}
    assert [letter for letter in found if letter.body or letter.content] == []


async def test_they_are_filtered_by_service_and_state(owner, bury):
    bury("orchestrator")
    name = bury("docs")
    await owner.dead_letters.DropDeadLetter(api.DropDeadLetterRequest(name=name, why="x"))
    wanted = {"service": "docs", "state": api.DEAD_LETTER_STATE_DROPPED}
    assert [letter.name for letter in (await listed(owner, filter=wanted)).dead_letters] == [name]
    wanted["state"] = api.DEAD_LETTER_STATE_BURIED
    assert list((await listed(owner, filter=wanted)).dead_letters) == []


async def test_a_letter_is_shown_with_what_it_says(owner, bury):
    letter = await owner.dead_letters.GetDeadLetter(api.GetDeadLetterRequest(name=bury()))
    assert (letter.error, letter.deliveries, letter.service) == ("secret words", 3, "orchestrator")
    assert events.ChangeGenerated.FromString(letter.body) == SAYS
    assert '"state": "verified"' in letter.content
    assert dict(letter.headers) == {"ce-subject": "tasks/1"}


async def test_a_drop_keeps_who_and_why_and_is_an_entry_of_the_log(owner, acme, bury):
    name = bury()
    request = api.DropDeadLetterRequest(name=name, why=" the task was repeated ")
    letter = await owner.dead_letters.DropDeadLetter(request)
    principal = f"key:{acme.api_key.partition('.')[0]}"
    assert (letter.state, letter.decider) == (api.DEAD_LETTER_STATE_DROPPED, principal)
    assert letter.why == "the task was repeated"
    assert await owner.dead_letters.DropDeadLetter(request) == letter
    log = await owner.audit.ListAuditEntries(audit.ListAuditEntriesRequest())
    (entry,) = [entry for entry in log.entries if entry.action == "dead_letters.drop"]
    assert (entry.resource, entry.principal, entry.details["why"]) == (name, principal, "the task was repeated")


@pytest.mark.parametrize("why", ["", "  ", "x" * 501, "a\nb"])
async def test_a_drop_says_why_in_one_line(owner, bury, why):
    code, said = await refused(owner.dead_letters.DropDeadLetter(api.DropDeadLetterRequest(name=bury(), why=why)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert said.startswith("why: ")


async def test_what_cannot_be_delivered_again_says_why_and_what_to_do(owner, bury):
    code, said = await refused(owner.dead_letters.ReplayDeadLetter(api.ReplayDeadLetterRequest(name=bury())))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "is not kept by its sender any more" in said
    assert "Create a new task" in said


async def test_what_was_dropped_is_not_delivered_again(owner, bury):
    name = bury()
    await owner.dead_letters.DropDeadLetter(api.DropDeadLetterRequest(name=name, why="x"))
    code, said = await refused(owner.dead_letters.ReplayDeadLetter(api.ReplayDeadLetterRequest(name=name)))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "was dropped" in said


@pytest.mark.parametrize("name", ["", "deadLetters/x", "deadLetters/a-b.c", f"deadLetters/other-work.{UUID(int=9)}"])
async def test_a_name_of_none_is_not_found(owner, name):
    code, _ = await refused(owner.dead_letters.GetDeadLetter(api.GetDeadLetterRequest(name=name)))
    assert code is grpc.StatusCode.NOT_FOUND
    code, _ = await refused(owner.dead_letters.ReplayDeadLetter(api.ReplayDeadLetterRequest(name=name)))
    assert code is grpc.StatusCode.NOT_FOUND


async def test_another_tenant_finds_none_of_them(connect, new_tenant, bury):
    name = bury()
    other = await connect(new_tenant().api_key)
    assert list((await listed(other)).dead_letters) == []
    code, _ = await refused(other.dead_letters.GetDeadLetter(api.GetDeadLetterRequest(name=name)))
    assert code is grpc.StatusCode.NOT_FOUND
    code, _ = await refused(other.dead_letters.DropDeadLetter(api.DropDeadLetterRequest(name=name, why="x")))
    assert code is grpc.StatusCode.NOT_FOUND


async def test_whoever_may_only_read_decides_nothing(owner, connect, bury):
    reader = keys.ApiKey(display_name="reader", scopes=["audit.read"])
    made = await owner.keys.CreateApiKey(keys.CreateApiKeyRequest(api_key=reader))
    name, reading = bury(), await connect(made.key)
    assert (await reading.dead_letters.GetDeadLetter(api.GetDeadLetterRequest(name=name))).name == name
    code, _ = await refused(reading.dead_letters.ReplayDeadLetter(api.ReplayDeadLetterRequest(name=name)))
    assert code is grpc.StatusCode.PERMISSION_DENIED


async def test_an_operator_sees_that_a_tenant_has_letters_and_nothing_of_what_they_say(operator, acme, bury):
    name = bury()
    found = await operator.dead_letters.ListAllDeadLetters(api.ListAllDeadLettersRequest(page_size=1))
    (letter,) = found.dead_letters
    assert (letter.name, letter.tenant, letter.reason) == (name, f"tenants/{acme.tenant_id}", "POISON")
    assert (letter.error, letter.body, letter.content, letter.task, dict(letter.headers)) == ("", b"", "", "", {})


async def test_what_proves_no_tenant_is_an_operator_s_to_see_and_drop(owner, operator, bury):
    name = bury(tenant_id=NOBODY)
    assert list((await listed(owner)).dead_letters) == []
    request = api.ListAllDeadLettersRequest(quarantined=True)
    (letter, *_) = (await operator.dead_letters.ListAllDeadLetters(request)).dead_letters
    assert (letter.name, letter.tenant, letter.error) == (name, "", "secret words")
    dropping = api.DropQuarantinedDeadLetterRequest(name=name, why="forged")
    await operator.dead_letters.DropQuarantinedDeadLetter(dropping)
    (letter, *_) = (await operator.dead_letters.ListAllDeadLetters(request)).dead_letters
    assert (letter.state, letter.why) == (api.DEAD_LETTER_STATE_DROPPED, "forged")
    log = await operator.audit.ListOperatorEntries(audit.ListOperatorEntriesRequest(page_size=1))
    assert [(entry.action, entry.resource) for entry in log.entries] == [("dead_letters.drop", name)]


async def test_an_operator_decides_nothing_about_a_tenant_s_message(operator, bury):
    name = bury()
    dropping = api.DropQuarantinedDeadLetterRequest(name=name, why="x")
    code, _ = await refused(operator.dead_letters.DropQuarantinedDeadLetter(dropping))
    assert code is grpc.StatusCode.NOT_FOUND
    code, _ = await refused(operator.dead_letters.GetDeadLetter(api.GetDeadLetterRequest(name=name)))
    assert code in {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED}
