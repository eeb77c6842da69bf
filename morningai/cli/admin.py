"""What commands of whoever runs the database need: its connection, past the gateway."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

DATA_DIR = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Data folder of a running `morningai up`. [env var: MORNINGAI_DATA_DIR]"),
]


def admin_dsn(data_dir: Path | None) -> str:
    """That of MORNINGAI_ADMIN_DSN, else that of the running `morningai up`."""
    from morningai.settings import read_variable, secrets_folder

    if os.environ.get("MORNINGAI_ADMIN_DSN") or secrets_folder():
        return read_variable("MORNINGAI_ADMIN_DSN")
    from morningai.cli.connection import ConnectionOptions, find_place
    from morningai.embedded.data_dir import DataDir
    from morningai.embedded.postgres import EmbeddedPostgres
    from morningai.embedded.services import DATABASE

    environment = {name: value for name, value in os.environ.items() if name != "MORNINGAI_ADDRESS"}
    place = find_place(ConnectionOptions(data_dir=data_dir), environment)
    assert place.data_dir is not None  # only an address names a place without one
    return EmbeddedPostgres(DataDir(place.data_dir).postgres).admin_dsn(DATABASE)
