"""Schedules that fire by themselves, at a time and on a push, while the gateway is killed again and again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration

from morningai.api.schedules.v1 import schedules_pb2 as schedules
from morningai.api.sources.v1 import sources_pb2 as sources
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from tests.e2e.platform import Platform, Tenant, eventually
from tests.e2e.repositories import commit_all, git, knowledge, make_repository, question_about
from tests.git_server import ADDRESS, GitServer, serving_git

pytestmark = pytest.mark.xdist_group("schedules")

# A cron expression of every minute comes within one, and a bit.
A_MINUTE = 75.0
DUE_NOW = """
UPDATE gateway.outbox AS o SET due_at = now() FROM gateway.schedules AS s
WHERE o.id = s.timer_id AND s.schedule_id = %s AND o.published_at IS NULL
"""
MADE = """
SELECT t.task_id, t.base_commit FROM gateway.tasks AS t JOIN kernel.tasks AS k USING (tenant_id, task_id)
WHERE k.schedule_id = %s ORDER BY t.created_at
"""


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    """A bare repository over https that is these tests' own."""
    folder = tmp_path_factory.mktemp("remote")
    git(folder, "init", "-q", "--bare", "-b", "main", "shop.git")
    with serving_git(folder / "shop.git", folder) as server:
        yield server


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory, remote: GitServer) -> Iterator[Platform]:
    settings = {
        "MORNINGAI_DOCS_EGRESS_ALLOWED": ADDRESS,
        "MORNINGAI_DOCS_CERTIFICATE_FILE": str(remote.certificate_file),
        "MORNINGAI_LEASE_SECONDS": "3",
        "MORNINGAI_ACK_WAIT_SECONDS": "5",
    }
    platform = Platform(tmp_path_factory.mktemp("scheduled"), settings=settings)
    try:
        platform.start()
        yield platform
    finally:
        platform.stop()


@pytest.fixture
def owner(mortal: Platform) -> Iterator[Tenant]:
    with mortal.tenant() as tenant:
        yield tenant


class Watched:
    """A schedule, what it knows, and the tasks that it made."""

    def __init__(self, platform: Platform, owner: Tenant, instruction: str, source: str, **fields: object) -> None:
        self.platform, self.owner = platform, owner
        task = tasks.Task(instruction=instruction, source=source, kinds=[tasks.TASK_KIND_ANSWER])
        wanted = schedules.Schedule(display_name="news", task=task, **fields)  # type: ignore[arg-type]  # as named
        request = schedules.CreateScheduleRequest(schedule=wanted, request_id=str(uuid4()))
        self.name = owner.gateway.call(owner.gateway.schedules.CreateSchedule, request).name

    @property
    def schedule_id(self) -> str:
        return self.name.removeprefix("schedules/")

    def get(self) -> schedules.Schedule:
        request = schedules.GetScheduleRequest(name=self.name)
        return self.owner.gateway.call(self.owner.gateway.schedules.GetSchedule, request)

    def pause(self) -> None:
        request = schedules.PauseScheduleRequest(name=self.name)
        self.owner.gateway.call(self.owner.gateway.schedules.PauseSchedule, request)

    def made(self) -> list[tuple[object, ...]]:
        return self.platform.rows(MADE, self.schedule_id)

    def hasten(self) -> None:
        """Its timer is due now."""
        with self.platform.admin() as connection:
            connection.execute(DUE_NOW, (self.schedule_id,))
            connection.execute("NOTIFY outbox_gateway")

    def look(self) -> None:
        """Returns once the branch was looked at once more."""
        before = self.get().watch.check_time

        def looked() -> bool:
            self.hasten()
            return self.get().watch.check_time != before

        eventually(f"{self.name} looks at its branch", looked)


def test_a_time_comes_once_while_the_gateway_is_killed(
    mortal: Platform, owner: Tenant, word: str, tmp_path: Path
) -> None:
    source = owner.add_source(make_repository(tmp_path / "shop", knowledge(word)))
    cron = schedules.CronTrigger(expression="* * * * *")
    missed = schedules.MISSED_POLICY_CATCH_UP
    watched = Watched(mortal, owner, question_about(word), source, cron=cron, missed_policy=missed)
    mortal.kill_service("gateway")
    eventually("the first minute makes a task", watched.made, seconds=A_MINUTE)
    mortal.kill_service("gateway")
    watched.pause()
    ended = owner.ended(watched.get().last_task)
    assert ended.state == tasks.TASK_STATE_SUCCEEDED, ended
    assert [f"tasks/{task_id}" for task_id, _ in watched.made()] == [ended.name]


def test_a_push_makes_one_task_at_its_commit_while_the_gateway_is_killed(
    mortal: Platform, owner: Tenant, remote: GitServer, word: str, tmp_path: Path
) -> None:
    bare = remote.certificate_file.parent / "shop.git"
    own = make_repository(tmp_path / "shop", knowledge(word))
    git(own, "push", "--quiet", str(bare), "main")
    uri = f"https://{ADDRESS}:{remote.port}/project"
    creation = sources.CreateSourceRequest(source_id="shop", source=sources.Source(remote_uri=uri))
    source = owner.gateway.call(owner.gateway.sources.CreateSource, creation, repeatable=False).name
    commit = schedules.CommitTrigger(branch="main", poll_interval=Duration(seconds=60))
    queue = schedules.OVERLAP_POLICY_QUEUE
    watched = Watched(mortal, owner, question_about(word), source, commit=commit, overlap_policy=queue)
    start = git(own, "rev-parse", "HEAD")
    eventually("the first commit is noted", lambda: watched.get().watch.commit == start)
    assert watched.made() == []

    pushed = commit_all(own, {"NEWS.md": f"# News of {word}\n\nIt measures humidity now.\n"})
    git(own, "push", "--quiet", str(bare), "main")
    watched.hasten()
    mortal.kill_service("gateway")
    watched.hasten()
    eventually("the push makes a task", watched.made)
    mortal.kill_service("gateway")
    later = commit_all(own, {"MORE.md": "# More\n"})
    git(own, "push", "--quiet", str(bare), "HEAD:refs/heads/elsewhere")
    watched.look()
    watched.look()
    ((task_id, base_commit),) = watched.made()
    ended = owner.ended(f"tasks/{task_id}")
    assert ended.state == tasks.TASK_STATE_SUCCEEDED, ended
    assert (base_commit, ended.base_commit) == (pushed, pushed)
    assert f"at {pushed[:10]}" in next(step.summary for step in ended.steps if step.step == "index")

    git(own, "push", "--quiet", str(bare), "main")
    watched.hasten()
    eventually("the next push makes another task", lambda: len(watched.made()) == 2)
    watched.look()
    assert [commit for _, commit in watched.made()] == [pushed, later]
