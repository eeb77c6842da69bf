"""`proof-key list`, `rotate` and `retire`: for whoever runs the database, past the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from morningai.cli.admin import DATA_DIR, admin_dsn
from morningai.cli.exit_code import ExitCode
from morningai.cli.invocation import Invocation, local_command

if TYPE_CHECKING:
    from morningai.db.proof_keys import ProofKey


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The keys that sign the proofs of who is calling.", no_args_is_help=True)
    local_command(group, "list")(list_keys)
    local_command(group, "rotate")(rotate)
    local_command(group, "retire")(retire)
    app.add_typer(group, name="proof-key")


def list_keys(invocation: Invocation, data_dir: DATA_DIR = None) -> ExitCode:
    """List the proof keys: the one that signs, those that still verify, those that are retired.

    The database is that of MORNINGAI_ADMIN_DSN, else that of the running `morningai up`.

    \b
    Example:
      morningai proof-key list
    """
    from morningai.cli.listing import show_listing
    from morningai.db.proof_keys import list_proof_keys

    keys = list_proof_keys(admin_dsn(data_dir))
    if invocation.output.json_output:
        invocation.output.document({"proof_keys": [_json(key) for key in keys]})
        return ExitCode.SUCCESS
    rows = [(key.key_id, key.state, f"{key.created_at.astimezone():%Y-%m-%d %H:%M:%S}") for key in keys]
    show_listing(invocation.output, ("key", "state", "made"), rows)
    return ExitCode.SUCCESS


def rotate(invocation: Invocation, data_dir: DATA_DIR = None) -> ExitCode:
    """Sign with a new key from now on. Nothing stops: the replaced key still verifies what it signed.

    \b
    Example:
      morningai proof-key rotate
    """
    from morningai.db.proof_keys import rotate_proof_key

    key = rotate_proof_key(admin_dsn(data_dir))
    if invocation.output.json_output:
        invocation.output.document(_json(key))
        return ExitCode.SUCCESS
    invocation.output.line(f"{key.key_id} signs proofs from now on.")
    invocation.output.note("next, in five minutes: morningai proof-key retire with the key that it replaced")
    return ExitCode.SUCCESS


def retire(
    invocation: Invocation,
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="As `proof-key list` shows it.")],
    data_dir: DATA_DIR = None,
) -> ExitCode:
    """Refuse the proofs of a replaced key. Messages of open tasks that it sealed are sealed again and sent again.

    \b
    Example:
      morningai proof-key retire k1
    """
    from morningai.db.proof_keys import retire_proof_key

    sealed_again = retire_proof_key(admin_dsn(data_dir), key_id)
    if invocation.output.json_output:
        invocation.output.document({"key_id": key_id, "state": "retired", "messages_sealed_again": sealed_again})
        return ExitCode.SUCCESS
    invocation.output.line(f"{key_id} is retired; {sealed_again} messages were sealed again.")
    return ExitCode.SUCCESS


def _json(key: ProofKey) -> dict[str, object]:
    return {"key_id": key.key_id, "state": key.state, "create_time": key.created_at.isoformat()}
