"""Long work with an effect outside: a verified change becomes one commit and one branch in its source's remote.

Invariant: the commit follows from the command and the patch alone, and the branch is pushed by compare-and-set. So
however often and wherever the work is done, it ends in one branch with one commit.
"""

from __future__ import annotations

from datetime import UTC

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus import outbox
from morningai.bus.work import Finish, Work
from morningai.db.session import Database, Session
from morningai.errors import StepFailure, Unavailable
from services.docs import repository
from services.docs.domain import Source
from services.docs.git.commit import Commit, commit_message
from services.docs.sources import SourceStores

DELIVERING_SCOPE = "tasks.write"


async def deliver_change(
    work: Work, message: events.DeliverChange, *, database: Database, stores: SourceStores
) -> Finish:
    """Raises StepFailure with a reason a person can act on, and Unavailable when another try may help."""
    async with database.tenant_session(work.proof) as session:
        source = await repository.get_source(session, message.source.removeprefix("sources/"))
        _check_remote(source)
        commit = await _commit(session, work, message)
        tenant_id = session.tenant_id
    work.progress(0.2, f"making the commit on {message.base_commit[:10]}")
    async with stores.store_of(tenant_id, source.source_id) as store:
        made = await stores.make_commit(store, database, work.proof, source, commit)
        await _check_principal(work, database)
        work.progress(0.6, f"pushing {message.branch} to {source.repository}")
        await stores.push(store, database, work.proof, source, commit=made, branch=message.branch)
    return _finish(work, message, source, made)


def _finish(work: Work, message: events.DeliverChange, source: Source, commit: str) -> Finish:
    async def finish(session: Session) -> None:
        delivered = events.ChangeDelivered(
            change=message.change, repository=source.repository, branch=message.branch, commit=commit
        )
        await outbox.emit(session, delivered, task_id=work.task_id, causation_id=work.work_id)

    return finish


async def _commit(session: Session, work: Work, message: events.DeliverChange) -> Commit:
    patch = await repository.get_patch(session, work.task_id, message.change, patch_hash=message.patch_hash)
    if patch is None:
        raise Unavailable(f"The patch of {message.change} has not come yet.")
    task = f"tasks/{work.task_id}"
    text = commit_message(message.instruction, task=task, trace_id=message.trace_id, change=message.change)
    return Commit(message.base_commit, patch, text, message.create_time.ToDatetime(tzinfo=UTC))


async def _check_principal(work: Work, database: Database) -> None:
    """As late as can be: nothing takes back what was pushed."""
    async with database.tenant_session(work.proof) as session:
        await repository.check_principal(session, DELIVERING_SCOPE, doing="push it")


def _check_remote(source: Source) -> None:
    if not source.remote_uri:
        raise StepFailure(
            "no_remote", f"{source.name} has no remote any more.", remedy="Apply the patch of the change yourself."
        )
