"""`python -m morningai.cli`."""

from __future__ import annotations

from morningai.cli.main import main

main()
