from __future__ import annotations

import pytest

from morningai.secrets.key_ring import make_key
from morningai.settings import SettingsInvalid, read_settings
from services.docs.settings import Settings

REQUIRED = (
    *("DATABASE_DSN", "RELAY_DSN", "NATS_URL", "NATS_USER", "NATS_PASSWORD", "GRPC_ADDRESS", "WORK_DIR"),
    "TENANCY_ADDRESS",
)


@pytest.fixture(autouse=True)
def _complete(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in REQUIRED:
        monkeypatch.setenv(f"MORNINGAI_{name}", "host=x")


def test_the_keys_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = make_key("k1")
    monkeypatch.setenv("MORNINGAI_SECRET_KEYS", keys)
    assert keys.partition(":")[2] not in repr(read_settings(Settings))


def test_docs_does_not_start_without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MORNINGAI_SECRET_KEYS", raising=False)
    with pytest.raises(SettingsInvalid, match="MORNINGAI_SECRET_KEYS"):
        read_settings(Settings)


def test_wrong_keys_are_refused_by_the_name_of_the_setting_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORNINGAI_SECRET_KEYS", "k1:aHVzaA==")
    with pytest.raises(SettingsInvalid, match=r"MORNINGAI_SECRET_KEYS: .*key k1 is not 32 bytes") as refused:
        read_settings(Settings)
    assert "aHVzaA" not in f"{refused.value} {refused.value.__cause__}"
