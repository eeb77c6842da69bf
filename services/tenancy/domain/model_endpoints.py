"""A tenant's own model endpoints: what may be stored."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from morningai.errors import InvalidInput, NotFound

# Kinds of task; an endpoint for any is that of the kinds without their own.
ANY = "any"
KINDS = (ANY, "answer", "faq", "document", "change")
DEFAULT_CONTEXT_TOKENS = 32_768
FEWEST_CONTEXT_TOKENS = 512
MOST_CONTEXT_TOKENS = 10_000_000
LONGEST_URL = 500
LONGEST_MODEL = 200
LONGEST_KEY = 3_000
URL_FIELD = "model_endpoint.base_url"
URL_REMEDY = "Use https://host/v1, without a user, a query or a fragment."
# Narrow, so that no two readers of an address can differ about its host.
_URL = re.compile(r"https?://([a-z0-9]([a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~%@:+-]+)*")


@dataclass(frozen=True)
class ModelEndpoint:
    kind: str
    base_url: str
    model: str
    context_tokens: int
    has_api_key: bool = False
    set_at: datetime | None = None

    @property
    def name(self) -> str:
        return f"modelEndpoints/{self.kind}"


class Place(NamedTuple):
    scheme: str
    host: str
    port: int

    @property
    def is_address(self) -> bool:
        """Whether the host is an address and no name."""
        try:
            ip_address(self.host)
        except ValueError:
            return False
        return True


def parse_kind(name: str) -> str:
    """Raises NotFound."""
    kind = name.removeprefix("modelEndpoints/")
    if kind not in KINDS:
        raise NotFound("model endpoint", name[:80], remedy=f"Use modelEndpoints/ and one of {', '.join(KINDS)}.")
    return kind


def check_endpoint(*, name: str, base_url: str, model: str, context_tokens: int, api_key: str) -> ModelEndpoint:
    """Raises NotFound, or InvalidInput, which never quotes the key."""
    if not 0 < len(model) <= LONGEST_MODEL or not model.isprintable():
        raise InvalidInput(
            "model_endpoint.model", "is no name.", remedy=f"Use at most {LONGEST_MODEL} printable characters."
        )
    if context_tokens and not FEWEST_CONTEXT_TOKENS <= context_tokens <= MOST_CONTEXT_TOKENS:
        raise InvalidInput(
            "model_endpoint.context_tokens",
            f"is {context_tokens}.",
            remedy=f"Use {FEWEST_CONTEXT_TOKENS} to {MOST_CONTEXT_TOKENS:,}, or 0 for {DEFAULT_CONTEXT_TOKENS:,}.",
        )
    if len(api_key) > LONGEST_KEY or not api_key.isascii() or not (api_key + "x").isprintable() or " " in api_key:
        raise InvalidInput(
            "api_key",
            "is no key that a request can carry.",
            remedy=f"Use at most {LONGEST_KEY:,} printable ASCII characters without a space or line break.",
        )
    url = _normal(base_url)
    parse_url(url)
    return ModelEndpoint(parse_kind(name), url, model, context_tokens or DEFAULT_CONTEXT_TOKENS, bool(api_key))


def _normal(url: str) -> str:
    """Scheme and host in lower case, no slash at the end."""
    scheme, separator, rest = url.rstrip("/").partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}{separator}{host.lower()}{slash}{path}"


def parse_url(url: str) -> Place:
    """Raises InvalidInput."""
    if len(url) > LONGEST_URL or not _URL.fullmatch(url):
        raise InvalidInput(URL_FIELD, "is not an address of an endpoint.", remedy=URL_REMEDY)
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}[parts.scheme]
    except ValueError as error:
        raise InvalidInput(URL_FIELD, "is not an address of an endpoint.", remedy=URL_REMEDY) from error
    assert parts.hostname is not None
    return Place(parts.scheme, parts.hostname, port)
