from __future__ import annotations

import pytest

from morningai.secrets.key_ring import make_key
from morningai.settings import SettingsInvalid, read_settings
from services.gateway.settings import Settings

REQUIRED = (
    *("DATABASE_DSN", "RELAY_DSN", "SENDER_DSN", "NATS_URL", "NATS_USER", "NATS_PASSWORD", "GRPC_ADDRESS", "WORK_DIR"),
    *(f"{name}_ADDRESS" for name in ("ORCHESTRATOR", "DOCS", "FAQGEN", "CODEGEN", "TENANCY")),
)


@pytest.fixture(autouse=True)
def _complete(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in REQUIRED:
        monkeypatch.setenv(f"MORNINGAI_{name}", "host=x")
    monkeypatch.setenv("MORNINGAI_SECRET_KEYS", make_key("k1"))


def test_the_keys_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = make_key("k1")
    monkeypatch.setenv("MORNINGAI_SECRET_KEYS", keys)
    assert keys.partition(":")[2] not in repr(read_settings(Settings))


def test_wrong_keys_are_refused_by_the_name_of_the_setting_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORNINGAI_SECRET_KEYS", "k1:aHVzaA==")
    with pytest.raises(SettingsInvalid, match=r"MORNINGAI_SECRET_KEYS: .*key k1 is not 32 bytes") as refused:
        read_settings(Settings)
    assert "aHVzaA" not in f"{refused.value} {refused.value.__cause__}"


def test_a_claim_outlasts_a_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORNINGAI_WEBHOOK_TIMEOUT_SECONDS", "60")
    with pytest.raises(SettingsInvalid, match=r"MORNINGAI_WEBHOOK_LEASE_SECONDS: .*more than a second longer"):
        read_settings(Settings)


def test_the_tries_are_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORNINGAI_WEBHOOK_RETRY_SECONDS", "[1, 2.5]")
    assert read_settings(Settings).webhook_retry_seconds == (1.0, 2.5)


def test_the_tries_take_about_a_day() -> None:
    tries = read_settings(Settings).webhook_retry_seconds
    assert len(tries) == 7
    assert 20 < sum(tries) / 3600 < 36
