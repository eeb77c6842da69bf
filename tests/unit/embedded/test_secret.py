from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from morningai.embedded.data_dir import DataDir
from morningai.embedded.secret import ensure_operator_key, ensure_secrets
from morningai.errors import FailedPrecondition
from morningai.secrets.key_ring import KeyRing


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    return DataDir.at(tmp_path / "data")


def test_every_name_gets_a_password_of_its_own(data_dir: DataDir) -> None:
    secrets = ensure_secrets(data_dir, logins=["docs_app", "docs_relay"], bus_users=["docs"])
    assert len({*secrets.postgres.values(), *secrets.nats.values()}) == 3


def test_passwords_stay_and_only_new_names_get_one(data_dir: DataDir) -> None:
    before = ensure_secrets(data_dir, logins=["docs_app"], bus_users=["docs"])
    after = ensure_secrets(data_dir, logins=["docs_app", "faqgen_app"], bus_users=["docs"])
    assert after.postgres["docs_app"] == before.postgres["docs_app"]
    assert after.nats == before.nats
    assert set(after.postgres) == {"docs_app", "faqgen_app"}


def test_a_key_that_wraps_is_made_once(data_dir: DataDir) -> None:
    made = ensure_secrets(data_dir, logins=[], bus_users=[], keepers=["gateway"])
    again = ensure_secrets(data_dir, logins=[], bus_users=[], keepers=["gateway"])
    assert made.secret_keys == again.secret_keys
    assert KeyRing.parse(made.secret_keys["gateway"]).current == "k1"
    assert made.secret_keys["gateway"] not in repr(made)


def test_a_file_of_before_there_were_keys_gets_one(data_dir: DataDir) -> None:
    data_dir.secrets_file.write_text('{"postgres": {"docs_app": "p"}, "nats": {}}')
    secrets = ensure_secrets(data_dir, logins=["docs_app"], bus_users=[], keepers=["gateway"])
    assert secrets.postgres == {"docs_app": "p"}
    assert set(secrets.secret_keys) == {"gateway"}


def test_secrets_are_in_a_file_only_the_owner_reads(data_dir: DataDir) -> None:
    ensure_secrets(data_dir, logins=["docs_app"], bus_users=[])
    ensure_operator_key(data_dir)
    files = (data_dir.secrets_file, data_dir.operator_key_file)
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_secrets_do_not_show_in_a_traceback_or_log(data_dir: DataDir) -> None:
    secrets = ensure_secrets(data_dir, logins=["docs_app"], bus_users=["docs"])
    assert secrets.postgres["docs_app"] not in repr(secrets)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"postgres": 1, "nats": {}}'])
def test_a_damaged_file_stops_the_start_instead_of_new_passwords(data_dir: DataDir, content: str) -> None:
    data_dir.secrets_file.write_text(content)
    with pytest.raises(FailedPrecondition, match="damaged"):
        ensure_secrets(data_dir, logins=["docs_app"], bus_users=[])
    assert data_dir.secrets_file.read_text() == content


def test_the_operator_key_has_an_id_and_a_secret_and_stays(data_dir: DataDir) -> None:
    key = ensure_operator_key(data_dir)
    assert re.fullmatch(r"op_[0-9a-f]{12}\.[\w-]{43}", key)
    assert ensure_operator_key(data_dir) == key
