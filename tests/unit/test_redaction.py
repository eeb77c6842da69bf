from __future__ import annotations

import json
import subprocess
import sys
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from morningai.errors import plain
from morningai.redaction import hide_secrets
from morningai.settings import secrets_of
from morningai.telemetry import Redacting

MAC = "ab" * 32
SECRETS = {
    "a grant": f"k1|g|{uuid4()}|key:mk_1|tasks.read,tasks.write|1790000000|{MAC}",
    "a seal": f"k12|s|{uuid4()}|key:mk_1|tasks.read|{uuid4()}|{uuid4()}|{MAC}",
    "an API key": "mk_0123456789abcdef.Nn2c3HkT_x-yzABCDEFGHIJKLMNOP0123456789abcd",
    "an operator's key": "op_0123456789ab.Nn2c3HkT_x-yzABCDEFGHIJKLMNOP0123456789abcd",
    "an invitation": "mi_0123456789abcdef.Nn2c3HkT_x-yzABCDEFGHIJKLMNOP0123456789abcd",
    "a webhook's secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "a token of a provider": "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl",
    "a model's key": "sk-proj-0123456789abcdefghij",
    "a git token": "ghp_0123456789abcdefghijABCDEFGHIJ012345",
    "a fine-grained git token": "github_pat_11ABCDEFG0123456789_abcdefghij",
    "another host's git token": "glpat-0123456789abcdefghij",
    "a private key": "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIIGG\n-----END EC PRIVATE KEY-----",
}
SPELLINGS = {
    "postgresql://docs_app:hunter22@db:5432/x": "hunter22",
    "https://deploy:t0ken-of-mine@git.example.org/a.git": "t0ken-of-mine",
    "https://x0123456789abcdef01@git.example.org/a.git": "x0123456789abcdef01",
    "host=db user=docs_app password=hunter22 port=1": "hunter22",
    '{"api_key": "hunter22"}': "hunter22",
    "{'Authorization': 'hunter22'}": "hunter22",
    "Authorization: Bearer hunter22": "hunter22",
    json.dumps('sent {"token": "hunter22"}'): "hunter22",
}
HARMLESS = [
    "page_token: belongs to another listing. Use the one of this.",
    "remote_uri: the remote wants a credential. `morningai source credential set` stores one.",
    "https://git.example.org/acme/shop.git redirects to https://git.example.org/shop.git",
    "sources/shop at 3b18e512dba79e4c8300dd08aeb37f8e728b8dad, tasks/0199aa17-5c1f-7aa0-8ebc-0242ac120002",
    "key:mk_0123456789abcdef may not publish",
    "bearer of news; a basic question; sk-learn; mail to a@example.org",
    "a|g|b",
    "Write ssh://user@host/path or https://host/path.",
    "Send the metadata authorization: Bearer <key>.",
]


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_credential_is_told_by_its_form(secret: str) -> None:
    said = hide_secrets(f"refused: {secret}, and so on")
    assert said.startswith("refused: ")
    assert "[hidden]" in said
    assert longest_part(secret) not in said


@pytest.mark.parametrize(("text", "secret"), SPELLINGS.items())
def test_a_credential_is_told_by_where_it_stands(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in hide_secrets(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_anything_else_stays(text: str) -> None:
    assert hide_secrets(text) == text


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_what_an_error_says_to_others_holds_none(secret: str) -> None:
    assert longest_part(secret) not in plain(f"{'x ' * 960}{secret}")


def test_the_passwords_of_the_settings_are_known() -> None:
    class Given(BaseSettings):
        database_dsn: str = "host=db user=a password='of the login'"
        bus_password: str = "of the bus"
        secret_keys: SecretStr = SecretStr("k1:c2VjcmV0")
        replica: str = "host:1"

    assert set(secrets_of(Given())) == {"of the login", "of the bus", "k1:c2VjcmV0", "k1", "c2VjcmV0"}


PROGRAM = """
import logging, sys
import structlog
from morningai.logging import start_logging
from morningai.redaction import remember
secret = sys.stdin.read()
remember(['the "quoted" password'])
start_logging("docs", "info")
log = structlog.get_logger()
log.info("a.line", why=f"was {secret}", nested={"list": [secret]}, other='the "quoted" password')
logging.getLogger("library").warning("it said %s", secret)
try:
    raise ValueError(secret)
except ValueError:
    log.exception("a.crash")
"""


@pytest.mark.parametrize("kind", ["a grant", "an API key", "a private key"])
def test_no_log_line_holds_a_credential(kind: str) -> None:
    secret = SECRETS[kind]
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=secret, capture_output=True, text=True, check=True, timeout=60
    )
    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    assert [line["event"].split(" ")[0] for line in lines] == ["a.line", "it", "a.crash"]
    assert longest_part(secret) not in ran.stderr
    assert "quoted" not in ran.stderr


def test_no_span_holds_a_credential() -> None:
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Redacting(memory)))
    secret = SECRETS["a grant"]
    with (
        pytest.raises(ValueError, match="refused"),
        provider.get_tracer("t").start_as_current_span(
            f"call {secret}", attributes={"one": secret, "many": (secret, "a"), "number": 3}
        ),
    ):
        raise ValueError(f"refused {secret}")
    [span] = memory.get_finished_spans()
    assert MAC not in span.to_json()
    assert span.attributes == {"one": "[hidden]", "many": ("[hidden]", "a"), "number": 3}
    assert span.events[0].name == "exception"
    assert span.status.description == "ValueError: refused [hidden]"


def longest_part(secret: str) -> str:
    return max(secret.replace("\n", ".").split("."), key=len)
