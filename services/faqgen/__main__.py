"""`python -m services.faqgen`."""

from __future__ import annotations

from functools import partial

import uvloop

from morningai.service import run
from morningai.settings import read_settings
from services.faqgen.app import NAME, make_service
from services.faqgen.settings import Settings

if __name__ == "__main__":
    settings = read_settings(Settings)
    run(NAME, settings, partial(make_service, settings), loop_factory=uvloop.new_event_loop)
