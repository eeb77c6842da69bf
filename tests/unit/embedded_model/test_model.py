from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from morningai.embedded.model import (
    QWEN_CODER,
    InstallFrom,
    ModelDamaged,
    ModelFile,
    install_model,
    installed_model,
)
from morningai.errors import FailedPrecondition, InvalidInput, Unavailable

CONTENT = bytes(range(256)) * 40_000
MODEL = ModelFile(
    name="Tiny",
    file_name="tiny.gguf",
    size_bytes=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    url="http://127.0.0.1:9/tiny.gguf",
    license="Apache-2.0",
    package="no-such-package",
    package_version="1.0",
    package_sha256s=("0" * 64,),
    piece_bytes=len(CONTENT),
)


@dataclass
class FileServer:
    """Serves `content` with ranges; ends each answer after `cut_after` bytes when that is set."""

    content: bytes = CONTENT
    cut_after: int | None = None
    ranges: list[str | None] = field(default_factory=list)
    url: str = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        request.send_response(206 if asked else 200)
        request.send_header("Content-Length", str(len(self.content) - start))
        if asked:
            request.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        request.end_headers()
        end = None if self.cut_after is None else start + self.cut_after
        request.wfile.write(self.content[start:end])


@pytest.fixture
def file_server() -> Iterator[FileServer]:
    served = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/tiny.gguf"
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def from_url(url: str) -> InstallFrom:
    return InstallFrom(url=url, packages=False)


def test_the_file_is_fetched_checked_and_found_again(tmp_path: Path, file_server: FileServer) -> None:
    seen: list[int] = []

    path = install_model(
        tmp_path, source=from_url(file_server.url), model=MODEL, progress=lambda done, total: seen.append(done)
    )

    assert path.read_bytes() == CONTENT
    assert installed_model(tmp_path, MODEL) == path
    assert (seen[0], seen[-1]) == (0, len(CONTENT))
    assert sorted(seen) == seen


def test_an_installed_model_is_not_fetched_again(tmp_path: Path, file_server: FileServer) -> None:
    install_model(tmp_path, source=from_url(file_server.url), model=MODEL)
    install_model(tmp_path, source=from_url(file_server.url), model=MODEL)

    assert len(file_server.ranges) == 1


def test_a_broken_download_goes_on_where_it_stopped(tmp_path: Path, file_server: FileServer) -> None:
    file_server.cut_after = 1_000_000
    with pytest.raises(Unavailable, match="go on where it stopped"):
        install_model(tmp_path, source=from_url(file_server.url), model=MODEL)
    kept = (tmp_path / "tiny.gguf.part").stat().st_size
    file_server.cut_after = None

    path = install_model(tmp_path, source=from_url(file_server.url), model=MODEL)

    assert file_server.ranges == [None, f"bytes={kept}-"]
    assert 900_000 < kept <= 1_000_000
    assert path.read_bytes() == CONTENT


def test_one_place_goes_on_where_another_stopped(tmp_path: Path, file_server: FileServer) -> None:
    (tmp_path / "tiny.gguf.part").write_bytes(CONTENT[:5_000])
    local = tmp_path / "downloaded.gguf"
    local.write_bytes(b"?" * 5_000 + CONTENT[5_000:])

    path = install_model(tmp_path / "", source=InstallFrom(file=local), model=MODEL)

    assert path.read_bytes() == CONTENT


def test_a_file_with_the_wrong_sum_is_deleted_and_reported(tmp_path: Path, file_server: FileServer) -> None:
    file_server.content = CONTENT[:-1] + b"?"

    with pytest.raises(ModelDamaged, match="SHA-256"):
        install_model(tmp_path, source=from_url(file_server.url), model=MODEL)

    assert not list(tmp_path.glob("tiny*"))


def test_a_page_of_another_size_is_not_taken_for_the_model(tmp_path: Path, file_server: FileServer) -> None:
    file_server.content = b"<html>please log in</html>"

    with pytest.raises(Unavailable, match="offers 26 bytes"):
        install_model(tmp_path, source=from_url(file_server.url), model=MODEL)


def test_when_no_place_answers_the_error_names_each_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_NO_INDEX", "1")

    with pytest.raises(Unavailable, match=r"127\.0\.0\.1: .*; package index: "):
        install_model(tmp_path, source=InstallFrom(url=MODEL.url), model=MODEL)

    assert not (tmp_path / "packages").exists()


def test_a_local_file_that_is_not_there_is_invalid_input(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not a file"):
        install_model(tmp_path, source=InstallFrom(file=tmp_path / "absent.gguf"), model=MODEL)


def test_a_disk_without_room_is_noticed_before_anything_is_fetched(tmp_path: Path, file_server: FileServer) -> None:
    huge = replace(MODEL, size_bytes=10**18)

    with pytest.raises(FailedPrecondition, match="GB free"):
        install_model(tmp_path, source=from_url(file_server.url), model=huge)

    assert file_server.ranges == []


def test_a_model_that_changed_after_its_check_is_not_used(tmp_path: Path, file_server: FileServer) -> None:
    path = install_model(tmp_path, source=from_url(file_server.url), model=MODEL)

    path.write_bytes(CONTENT[:-1] + b"?")

    assert installed_model(tmp_path, MODEL) is None


def test_a_right_file_put_there_by_hand_is_adopted(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(CONTENT)

    path = install_model(tmp_path, source=from_url(MODEL.url), model=MODEL)

    assert installed_model(tmp_path, MODEL) == path


def test_the_pieces_of_the_packages_add_up_to_the_model() -> None:
    pieces = len(QWEN_CODER.package_sha256s)

    assert pieces == len(set(QWEN_CODER.package_sha256s)) == 22
    assert (pieces - 1) * QWEN_CODER.piece_bytes < QWEN_CODER.size_bytes <= pieces * QWEN_CODER.piece_bytes
