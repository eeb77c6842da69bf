"""The folder that holds everything of one embedded MorningAI: layout, modes (0700, 0600), the sockets' place."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from morningai.embedded.leftover import RECORD_SUFFIX
from morningai.errors import FailedPrecondition

SOCKET_PATH_LIMIT_BYTES = 103  # macOS; Linux allows 107
_LAYOUT = frozenset({"postgres", "nats", "logs", "run", "work", "models", "lock", "secrets.json", "operator.key"})
_LONGEST_SOCKET_NAME = ".s.PGSQL.5432.lock"


@dataclass(frozen=True)
class DataDir:
    root: Path

    @classmethod
    def at(cls, path: Path | None = None) -> DataDir:
        """The given folder, or the platform's data folder; made here, readable by its owner alone."""
        root = (path or platformdirs.user_data_path("morningai", appauthor=False)).expanduser().absolute()
        data_dir = cls(root)
        _refuse_a_folder_of_others(root)
        for folder in (root, data_dir.postgres, data_dir.nats, data_dir.logs, data_dir.run, data_dir.work):
            make_private_folder(folder)
        return data_dir

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def nats(self) -> Path:
        return self.root / "nats"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def lock_file(self) -> Path:
        return self.root / "lock"

    @property
    def secrets_file(self) -> Path:
        return self.root / "secrets.json"

    @property
    def operator_key_file(self) -> Path:
        return self.root / "operator.key"

    @property
    def services_file(self) -> Path:
        return self.run / "services.json"

    def log_file(self, part: str) -> Path:
        return self.logs / f"{part}.log"

    def record_file(self, part: str) -> Path:
        return self.run / f"{part}{RECORD_SUFFIX}"

    def sockets(self) -> Path:
        return socket_folder(self.run)


def _refuse_a_folder_of_others(root: Path) -> None:
    """Making somebody's home or /tmp private would be a calamity."""
    strangers = {entry.name for entry in root.iterdir()} - _LAYOUT if root.is_dir() else set()
    if strangers and not (root / "lock").exists():
        raise FailedPrecondition(
            f"{root} holds {sorted(strangers)[0]}, which is not MorningAI's.",
            remedy="Name an empty or a new folder with --data-dir.",
        )


def make_private_folder(path: Path) -> Path:
    """Raises FailedPrecondition when the folder is somebody else's or cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        state = path.stat()
        if stat.S_IMODE(state.st_mode) != 0o700:
            path.chmod(0o700)
    except OSError as error:
        raise FailedPrecondition(
            f"The folder {path} cannot be used: {error.strerror or error}.",
            remedy="Name a folder you may write with --data-dir.",
        ) from error
    return path


def socket_folder(preferred: Path) -> Path:
    """`preferred` when its sockets fit the system's limit, else a short private folder that belongs to it alone."""
    if len(os.fsencode(preferred / _LONGEST_SOCKET_NAME)) <= SOCKET_PATH_LIMIT_BYTES:
        return make_private_folder(preferred)
    digest = hashlib.sha256(os.fsencode(preferred)).hexdigest()[:12]
    for base in _short_bases():
        folder = base / f"morningai-{os.getuid()}-{digest}"
        if len(os.fsencode(folder / _LONGEST_SOCKET_NAME)) <= SOCKET_PATH_LIMIT_BYTES:
            return _make_own_folder(folder)
    raise FailedPrecondition(
        f"No folder short enough for Unix sockets was found for {preferred}.",
        remedy="Name a shorter folder with --data-dir.",
    )


def _short_bases() -> list[Path]:
    candidates = [os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"]  # noqa: S108 - checked below
    return [Path(base) for base in candidates if base and os.access(base, os.W_OK)]


def _make_own_folder(folder: Path) -> Path:
    """In a folder everybody may write the name could have been taken: by a link, or by another user."""
    folder.mkdir(mode=0o700, exist_ok=True)
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid():
        raise FailedPrecondition(
            f"{folder} exists and is not a folder of yours.", remedy="Remove it, or name a shorter --data-dir."
        )
    folder.chmod(0o700)
    return folder


def write_private_file(path: Path, content: str) -> None:
    """Replaced as a whole, and never readable by others, not even for a moment."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)


def write_private_json(path: Path, content: object) -> None:
    write_private_file(path, json.dumps(content, indent=2, sort_keys=True) + "\n")
