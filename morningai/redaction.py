"""Hides credentials in what is said of work: log lines, spans, errors, the reasons in events and dead letters.

What is a credential is told by its form, or by `remember`: the passwords and keys that this process itself was given.
What tenants wrote, and what their repositories hold, is content and stays as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

HIDDEN = "[hidden]"
SHORTEST_REMEMBERED = 8
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_FORMS: tuple[tuple[re.Pattern[str], str], ...] = (
    # a proof, whole or cut off
    (re.compile(rf"\b[a-z0-9-]{{1,40}}\|[gsf]\|{_UUID}\|[^\s\"']*"), HIDDEN),
    # a key or an invitation: its id may be known
    (re.compile(r"\b((?:mk|op|mi)_[0-9a-z]+)\.[\w-]{8,}"), rf"\1.{HIDDEN}"),
    (re.compile(r"\bwhsec_[\w+/=-]{8,}"), HIDDEN),
    # a JSON Web Token
    (re.compile(r"\beyJ[\w-]{6,}\.[\w-]{6,}\.[\w-]*"), HIDDEN),
    # tokens with the prefixes that OpenAI, Anthropic, Stripe, GitHub, GitLab, Slack, Hugging Face and AWS publish
    (
        re.compile(
            r"\b(?:[spr]k[-_][\w-]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|gl[a-z]{2,5}-[\w-]{16,}|xox[a-z]-[\w-]{10,}"
            r"|hf_\w{20,}|A[KS]IA[0-9A-Z]{16})\b"
        ),
        HIDDEN,
    ),
    # user:password@, and a token in the place of a user
    (
        re.compile(r"(\b[a-z][a-z0-9+.-]*://)(?:[^\s/@:\"'<>]*:[^\s/@\"'<>]+|[\w.~-]{16,})@", re.IGNORECASE),
        rf"\1{HIDDEN}@",
    ),
    (re.compile(r"\b((?:bearer|basic)\s+)[\w.~+/=-]{16,}", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"\b(authorization:\s+(?:bearer|basic)\s+)[\w.~+/=-]{4,}", re.IGNORECASE), rf"\1{HIDDEN}"),
    # password=…, and "api_key": "…" as JSON and Python write it
    (
        re.compile(
            r"((?:password|passwd|secret|api[_-]?key|token|authorization)(?:=|\\?[\"']\s*:\s*\\?[\"']))[^\s\"'&,;\\]{4,}",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), HIDDEN),
)
_remembered: dict[str, None] = {}


def remember(secrets: Iterable[str]) -> None:
    """From now on these are hidden too, as they are and as JSON writes them. Too short ones would hide words."""
    for secret in secrets:
        if len(secret) >= SHORTEST_REMEMBERED:
            _remembered.update(dict.fromkeys((secret, json.dumps(secret)[1:-1])))


def hide_secrets(text: str) -> str:
    for secret in list(_remembered):
        text = text.replace(secret, HIDDEN)
    for form, replacement in _FORMS:
        text = form.sub(replacement, text)
    return text
