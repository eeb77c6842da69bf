"""`python -m services.codegen`."""

from __future__ import annotations

from functools import partial

from morningai.service import run
from morningai.settings import read_settings
from services.codegen.app import NAME, make_service
from services.codegen.settings import Settings

if __name__ == "__main__":
    settings = read_settings(Settings)
    run(NAME, settings, partial(make_service, settings))
