from __future__ import annotations

import pytest

from morningai.api.sources.v1 import sources_pb2 as sources
from morningai.errors import InvalidInput
from morningai.rpc.request import Requests, read_request

CREATE = sources.CreateSourceRequest(source_id="shop", source=sources.Source(repository="shop"))
SURROGATE = b"\xed\xa0\x80"


async def received(*requests):
    for request in requests:
        yield request


def test_a_request_is_read():
    assert read_request(CREATE.SerializeToString(), sources.CreateSourceRequest) == CREATE


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (sources.CreateSourceRequest(source_id="a\x00").SerializeToString(), "source_id"),
        (sources.CreateSourceRequest(source=sources.Source(name="\x00")).SerializeToString(), "source.name"),
        (CREATE.SerializeToString().replace(b"\x12\x04shop", b"\x12\x03" + SURROGATE), "source_id"),
        (b"\x0a\x05\x22\x03" + SURROGATE, "source.repository"),
        (b"\x12\xff", "request"),
        (b"\x0a\x02\x22\x09", "request"),
        (b"\x0b" * 200, "request"),
    ],
    ids=["a NUL", "a NUL inside", "a surrogate", "a surrogate inside", "cut", "cut inside", "deep"],
)
def test_a_request_that_cannot_be_kept_is_refused_by_its_field(data, field):
    with pytest.raises(InvalidInput) as refused:
        read_request(data, sources.CreateSourceRequest)
    assert refused.value.field == field
    assert refused.value.remedy


@pytest.mark.parametrize("sent", [(), (b"", b""), (b"\xff", b"")], ids=["none", "two", "a broken one of two"])
async def test_a_call_without_its_one_request_is_refused(sent):
    with pytest.raises(InvalidInput) as refused:
        await Requests(received(*sent), sources.GetSourceRequest).only()
    assert refused.value.field == "request"


async def test_requests_can_be_read_on_after_a_refused_one():
    requests = Requests(received(b"\xff", CREATE.SerializeToString()), sources.CreateSourceRequest)
    with pytest.raises(InvalidInput):
        await anext(requests)
    assert [request async for request in requests] == [CREATE]
