from __future__ import annotations

import re

import pytest

from morningai.db.audit import SCHEMAS
from morningai.db.migrate import KERNEL_MIGRATIONS, SERVICES, services_folder

FOLDERS = [KERNEL_MIGRATIONS, *(services_folder() / service / "migrations" for service in SERVICES)]
FILES = [path for folder in FOLDERS for path in sorted(folder.glob("*.sql"))]


def test_every_service_is_audited():
    assert set(SCHEMAS) == {"kernel", *SERVICES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.parent.name}/{path.name}")
def test_a_migration_has_a_version_and_goes_forward_only(path):
    assert re.fullmatch(r"\d{14}_[a-z_]+\.sql", path.name)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("-- migrate:up\n")
    assert text.rstrip().endswith("-- migrate:down\nSELECT 1 / 0;  -- forward only")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_versions_of_a_schema_are_unique(folder):
    versions = [path.name[:14] for path in folder.glob("*.sql")]
    assert len(versions) == len(set(versions))
