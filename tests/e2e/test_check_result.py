from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.check_result import NAMES, Claim, Document, Evidence, FaqItem, Provenance, Result, main, problems_of

FILES = {f"{name.lower()}.md": f"# {name}\n\nThe {name} part.\nIt runs.\n" for name in NAMES}
FILES["latin.txt"] = "café\n"
FILES["windows.txt"] = "one\r\ntwo\r\n"
TASK = "tasks/1"
TRACE = "ab" * 16


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "core.autocrlf=false")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content.encode("latin-1"))
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "start")
    return folder


@pytest.fixture
def result(repository: Path) -> Result:
    commit = git(repository, "rev-parse", "HEAD")
    origin = Provenance(task=TASK, trace_id=TRACE, engine="extractive", commit=commit)
    claims = [claim_about(commit, name) for name in NAMES]
    items = [FaqItem(question=f"What is {name}?", claims=[claim_about(commit, name)]) for name in NAMES]
    digest = hashlib.sha256(b"# Architecture").hexdigest()
    document = Document(
        content="# Architecture", content_hash=digest, claims=[claim_about(commit, "docs")], provenance=origin
    )
    return Result(
        repository={"path": str(repository), "commit": commit},
        answer={"found": True, "claims": claims, "provenance": origin},
        faq={"items": items, "provenance": origin},
        document=document,
        tasks=[{"name": TASK, "trace_id": TRACE}],
    )


def claim_about(commit: str, name: str) -> Claim:
    quote = f"The {name} part.\nIt runs."
    return Claim(text=f"There is the {name}.", evidence=[cite(commit, f"{name.lower()}.md", 3, 4, quote)])


def cite(commit: str, path: str, first: int, last: int, quote: str) -> Evidence:
    content = FILES[path].encode("latin-1")
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return Evidence(path=path, commit=commit, blob_hash=blob, start_line=first, end_line=last, quote=quote)


def first_evidence(result: Result) -> Evidence:
    return result["answer"]["claims"][0]["evidence"][0]


def test_blobs_are_named_as_git_names_them(result: Result, repository: Path) -> None:
    blob = git(repository, "rev-parse", f"{result['repository']['commit']}:gateway.md")

    assert first_evidence(result)["blob_hash"] == blob


def test_a_true_result_holds(result: Result, repository: Path) -> None:
    assert problems_of(result, repository) == []


def test_a_changed_byte_in_a_quote_is_found(result: Result, repository: Path) -> None:
    first_evidence(result)["quote"] = "The gatewax part."

    assert problems_of(result, repository) == [
        "answer.claims[0].evidence[0]: the quote is not in gateway.md:3-4: 'The gatewax part.'"
    ]


def test_every_byte_of_a_quote_counts(result: Result, repository: Path) -> None:
    quote = first_evidence(result)["quote"]

    def problem_count(position: int) -> int:
        first_evidence(result)["quote"] = f"{quote[:position]}#{quote[position + 1 :]}"
        return len(problems_of(result, repository))

    assert [problem_count(position) for position in range(0, len(quote), 3)] == [1] * 9


def test_a_quote_from_the_line_above_is_found(result: Result, repository: Path) -> None:
    first_evidence(result)["start_line"] = 4

    assert "is not in gateway.md:4-4" in problems_of(result, repository)[0]


@pytest.mark.parametrize(("first", "last"), [(0, 4), (3, 5), (4, 3)])
def test_lines_outside_of_the_file_are_found(result: Result, repository: Path, first: int, last: int) -> None:
    first_evidence(result)["start_line"], first_evidence(result)["end_line"] = first, last

    assert "outside" in problems_of(result, repository)[0]


def test_a_file_that_is_not_committed_is_found(result: Result, repository: Path) -> None:
    (repository / "new.md").write_text("The gateway part.\n")
    first_evidence(result)["path"] = "new.md"

    assert "new.md is not in" in problems_of(result, repository)[0]


def test_the_commit_counts_and_not_the_folder(result: Result, repository: Path) -> None:
    (repository / "gateway.md").write_text("something else\n")

    assert problems_of(result, repository) == []


def test_another_commit_is_found(result: Result, repository: Path) -> None:
    git(repository, "commit", "--quiet", "--allow-empty", "-m", "next")
    first_evidence(result)["commit"] = git(repository, "rev-parse", "HEAD")

    assert "is cited at" in problems_of(result, repository)[0]


def test_another_blob_is_found(result: Result, repository: Path) -> None:
    first_evidence(result)["blob_hash"] = "0" * 40

    assert "another blob" in problems_of(result, repository)[0]


def test_an_empty_quote_is_found(result: Result, repository: Path) -> None:
    first_evidence(result)["quote"] = " "

    assert "without a quote" in problems_of(result, repository)[0]


def test_quotes_of_latin_1_and_of_windows_lines_hold(result: Result, repository: Path) -> None:
    commit = result["repository"]["commit"]
    evidence = result["answer"]["claims"][0]["evidence"]
    evidence.append(cite(commit, "latin.txt", 1, 1, "café"))
    evidence.append(cite(commit, "windows.txt", 1, 2, "one\r\ntwo\r"))

    assert problems_of(result, repository) == []


def test_a_claim_without_evidence_is_found_and_names_nothing(result: Result, repository: Path) -> None:
    result["answer"]["claims"][0]["evidence"] = []

    assert problems_of(result, repository) == [
        "answer.claims[0] cites nothing: 'There is the gateway.'",
        "no cited claim of the answer names gateway",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_each_service_and_nats_must_be_named(result: Result, repository: Path, name: str) -> None:
    claims = result["answer"]["claims"]
    result["answer"]["claims"] = [claim for claim in claims if name not in claim["text"]]

    assert problems_of(result, repository) == [f"no cited claim of the answer names {name}"]


def test_a_repeated_question_is_counted_once(result: Result, repository: Path) -> None:
    for item in result["faq"]["items"][4:]:
        item["question"] = "what  is GATEWAY?"

    assert problems_of(result, repository) == ["the FAQ has 4 distinct questions, not 5"]


def test_an_faq_over_three_files_is_too_narrow(result: Result, repository: Path) -> None:
    for item in result["faq"]["items"][3:]:
        item["claims"] = result["faq"]["items"][0]["claims"]

    assert problems_of(result, repository) == ["the FAQ cites 3 files, not 4"]


def test_a_changed_document_is_found(result: Result, repository: Path) -> None:
    result["document"]["content"] += "!"

    assert problems_of(result, repository) == ["the document's hash is not that of its content"]


def test_another_trace_is_found(result: Result, repository: Path) -> None:
    result["tasks"][0]["trace_id"] = "cd" * 16

    assert problems_of(result, repository)[0] == "answer does not carry the trace ID of its task"


def test_as_a_script_a_true_result_exits_0(result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "result.json"
    file.write_text(json.dumps(result))

    assert main([str(file)]) == 0
    assert "15 citations found" in capsys.readouterr().out


def test_as_a_script_a_false_result_exits_1(result: Result, tmp_path: Path) -> None:
    first_evidence(result)["quote"] = "never written"
    file = tmp_path / "result.json"
    file.write_text(json.dumps(result))

    assert main([str(file)]) == 1


def test_as_a_script_an_incomplete_result_exits_2(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    file.write_text('{"repository": {"path": ".", "commit": "x"}, "answer": null}')

    assert main([str(file)]) == 2
