from __future__ import annotations

from pathlib import Path

import pytest

from morningai.embedded.process import describe_exit, rotate_log, tail


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "ended with exit code 0"),
        (7, "ended with exit code 7"),
        (-9, "ended by SIGKILL"),
        (-250, "ended by signal 250"),
    ],
)
def test_an_exit_is_described_in_words(code: int, words: str) -> None:
    assert describe_exit(code) == words


def test_a_log_over_the_limit_is_kept_as_one_older_log(tmp_path: Path) -> None:
    path = tmp_path / "docs.log"
    path.with_name("docs.log.1").write_text("oldest")
    path.write_text("too long")
    rotate_log(path, limit_bytes=4)
    assert not path.exists()
    assert path.with_name("docs.log.1").read_text() == "too long"


def test_a_log_within_the_limit_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "docs.log"
    path.write_text("fine")
    rotate_log(path, limit_bytes=4)
    assert path.read_text() == "fine"


def test_the_tail_is_the_last_lines_that_say_something(tmp_path: Path) -> None:
    path = tmp_path / "docs.log"
    path.write_text("one\n\ntwo\n\nthree\n\n")
    assert tail(path, 2) == ["two", "three"]


def test_the_tail_leaves_out_what_an_earlier_start_wrote(tmp_path: Path) -> None:
    path = tmp_path / "docs.log"
    path.write_text("earlier\nnow\n")
    assert tail(path, 5, since=len("earlier\n")) == ["now"]


def test_the_tail_of_a_huge_log_reads_only_its_end(tmp_path: Path) -> None:
    path = tmp_path / "docs.log"
    path.write_text("x" * 1_000_000 + "\nlast\n")
    assert tail(path, 1) == ["last"]


def test_the_tail_of_no_log_is_empty(tmp_path: Path) -> None:
    assert tail(tmp_path / "none.log", 3) == []
