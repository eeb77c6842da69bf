"""The command line of bubblewrap: an empty root into which only what a run needs is bound, read-only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.codegen.sandbox.host import PACKAGES, Host
from services.codegen.sandbox.limits import MEBIBYTE, Limits

WORKSPACE = Path("/workspace")
_SOURCE = "/source"
_SYSTEM_LINKS = ("bin", "sbin", "lib", "lib32", "lib64")
_SHARED_MEMORY = "/dev/shm"  # noqa: S108  the sandbox's own
_SHARED_MEMORY_BYTES = 16 * MEBIBYTE
# The tree is copied, never bound writable: what a run writes is gone with it, and no git of ours ever reads it.
_COPY_AND_RUN = 'cp -R /source/. /workspace/ && exec "$@"'


@dataclass(frozen=True)
class Features:
    """What this machine allows; found out by trying, strongest first."""

    root: bool
    """This service runs as root: no user namespace of bubblewrap's; the run changes to a user of its own."""
    proc: bool = True
    user_namespaces_disabled: bool = True
    seccomp: bool = True


@dataclass(frozen=True)
class Layout:
    """What one run sees, apart from the system."""

    tree: Path
    packages: Path
    system_files: Path
    mounts: Mapping[str, Path]
    user: int


def sandbox_arguments(host: Host, features: Features, layout: Layout, limits: Limits) -> list[str]:
    """Bubblewrap's own arguments; for its --args descriptor, so that no command line inside has a path of this host."""
    return [
        *_namespaces(features, layout),
        *_environment(host),
        *_system(host),
        *_other_mounts(layout),
        *(("--proc", "/proc") if features.proc else ()),
        *("--dev", "/dev", *_scratch(_SHARED_MEMORY, _SHARED_MEMORY_BYTES), "--remount-ro", "/dev"),
        *_scratch("/tmp", limits.scratch_bytes),  # noqa: S108  the sandbox's own
        *_scratch(str(WORKSPACE), limits.workspace_bytes),
        *("--remount-ro", "/", "--chdir", str(WORKSPACE)),
    ]


def inner_command(host: Host, features: Features, layout: Layout, limits: Limits) -> list[str]:
    """What bubblewrap starts, before the command itself: gives up root, sets the limits, copies the tree."""
    return [
        *(_drop_root(host, layout.user) if features.root else ()),
        *(str(host.prlimit), f"--nproc={limits.processes}", f"--as={limits.memory_bytes}"),
        *(f"--cpu={limits.cpu_seconds}", f"--fsize={limits.file_bytes}", f"--nofile={limits.open_files}", "--core=0"),
        *("--", "/bin/sh", "-c", _COPY_AND_RUN, "sh"),
    ]


def _environment(host: Host) -> Iterator[str]:
    variables = {
        "HOME": "/tmp",  # noqa: S108  the sandbox's own
        "LANG": "C.UTF-8",
        "PATH": f"{host.python.parent}:/usr/bin:/bin",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONNOUSERSITE": "1",
        "PYTHONPATH": str(PACKAGES),
        "TZ": "UTC",
        "USER": "sandbox",
    }
    for name, value in variables.items():
        yield from ("--setenv", name, value)


def _namespaces(features: Features, layout: Layout) -> list[str]:
    arguments = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    arguments += ["--hostname", "sandbox", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
    if features.root:
        for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
            arguments += ["--cap-add", capability]
        return arguments
    arguments += ["--unshare-user", "--uid", str(layout.user), "--gid", str(layout.user)]
    return arguments + (["--disable-userns"] if features.user_namespaces_disabled else [])


def _system(host: Host) -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr")
    for name in _SYSTEM_LINKS:
        path = Path("/", name)
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    if not host.prefix.is_relative_to("/usr"):
        yield from _bind(host.prefix, host.prefix)
    for folder in host.hidden:
        yield from ("--perms", "0755", "--size", "4096", "--tmpfs", str(folder), "--remount-ro", str(folder))


def _other_mounts(layout: Layout) -> Iterator[str]:
    yield from _bind(layout.system_files, Path("/etc"))
    for path in ("/etc/ld.so.cache", "/etc/alternatives"):
        yield from ("--ro-bind-try", path, path)
    yield from _bind(layout.packages, PACKAGES)
    for target, source in layout.mounts.items():
        yield from _bind(source, Path(target))
    yield from _bind(layout.tree, Path(_SOURCE))


def _bind(source: Path, target: Path) -> Iterator[str]:
    # Made by root, bubblewrap's implied parent folders are closed to everybody else.
    for parent in reversed(target.parents[:-1]):
        yield from ("--perms", "0755", "--dir", str(parent))
    yield from ("--ro-bind", str(source), str(target))


def _scratch(target: str, size_bytes: int) -> Iterable[str]:
    return ("--perms", "1777", "--size", str(size_bytes), "--tmpfs", target)


def _drop_root(host: Host, user: int) -> Sequence[str]:
    return (
        *(str(host.setpriv), f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs"),
        *("--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--"),
    )
