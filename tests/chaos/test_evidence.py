"""What is not there or not as it should be is an error, never nothing."""

from __future__ import annotations

import pytest

from tests.chaos.evidence import (
    BUS,
    CALLS,
    GIT,
    MODEL,
    REFS,
    TAP,
    TENANTS,
    WEBHOOKS,
    EvidenceUnusable,
    Journal,
    read_evidence,
)

CALL = {"began": 1, "ended": 2.5, "tenant": "acme", "method": "CreateTask", "request_id": "r", "request": {}}
LINES = {
    TENANTS: [{"slug": "acme", "tenant_id": "t"}],
    CALLS: [CALL | {"outcome": "ok", "task": "tasks/1", "state": None}],
    TAP: [{"time": 3.0, "stream": "EVENTS", "made_again": True}],
    BUS: [
        {"time": 4.0, "stream": "EVENTS", "last_sequence": 6, "tapped": 5},
        {"time": 5.0, "stream": "EVENTS", "last_sequence": 7, "tapped": 7},
    ],
    WEBHOOKS: [],
    MODEL: [],
    GIT: [{"time": 1.0, "tenant": "acme", "ref": "refs/heads/main", "old": "0", "new": "1"}],
    REFS: [{"tenant": "acme", "ref": "refs/heads/main", "commit": "1", "parents": [], "message": "start"}],
}


@pytest.fixture
def folder(tmp_path):
    for name, lines in LINES.items():
        journal = Journal(tmp_path, name)
        for line in lines:
            journal.append(line)
        journal.close()
    return tmp_path


def test_a_folder_with_every_file_is_read(folder):
    evidence = read_evidence(folder)
    assert (evidence.calls[0].task, evidence.made_again[0].stream) == ("tasks/1", "EVENTS")


def test_only_the_last_look_at_the_bus_counts(folder):
    assert [stream.tapped for stream in read_evidence(folder).streams] == [7]


@pytest.mark.parametrize("name", LINES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(EvidenceUnusable, match=name):
        read_evidence(folder)


@pytest.mark.parametrize("name", [TENANTS, CALLS, BUS, REFS])
def test_a_file_that_says_nothing_of_the_run_is_named(folder, name):
    (folder / name).write_text("")
    with pytest.raises(EvidenceUnusable, match=name):
        read_evidence(folder)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"slug": "b"', "line 2 is not JSON"),
        ("[]", "line 2 is not an object"),
        ('{"slug": "b"}', "line 2: tenant_id is missing"),
        ('{"slug": "b", "tenant_id": 7}', "line 2: tenant_id is 7, not str"),
    ],
)
def test_a_line_that_is_not_what_it_should_be_is_named(folder, line, problem):
    with (folder / TENANTS).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(EvidenceUnusable, match=problem):
        read_evidence(folder)
