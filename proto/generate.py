"""Generates `morningai/api` from the .proto files, with stubs for mypy and the `__init__.py` files.

`python proto/generate.py` writes them; `--check` generates into a scratch folder and compares.
"""

from __future__ import annotations

import filecmp
import sys
import sysconfig
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

PROTO = Path(__file__).parent
INCLUDES = Path(grpc_tools.__file__).parent / "_proto"


def generate(root: Path) -> None:
    """Write root/morningai/api/**; raises SystemExit with protoc's own message."""
    files = sorted(str(path.relative_to(PROTO)) for path in PROTO.glob("morningai/api/*/v1/*.proto"))
    arguments = ["protoc", f"-I{PROTO}", f"-I{INCLUDES}"]
    arguments += [f"--{kind}_out={root}" for kind in ("python", "mypy", "grpc_python", "mypy_grpc")]
    scripts = Path(sysconfig.get_path("scripts"))
    arguments += [f"--plugin=protoc-gen-{name}={scripts / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    if protoc.main(arguments + files) != 0:
        raise SystemExit("protoc failed")
    for folder in {root / "morningai/api", *(root / "morningai/api").rglob("*/")}:
        if folder.name != "__pycache__":
            (folder / "__init__.py").write_text("")
    for file in (root / "morningai/api").rglob("*_pb2_grpc.py*"):
        if (
            "service"
            not in (PROTO / file.relative_to(root)).with_name(file.name.split("_pb2")[0] + ".proto").read_text()
        ):
            file.unlink()


def drift() -> list[str]:
    """The generated files that differ from the checked-in ones, are missing or are left over."""
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh, kept = _files(Path(scratch) / "morningai/api"), _files(PROTO.parent / "morningai/api")
        changed = {
            name for name in fresh.keys() & kept.keys() if not filecmp.cmp(fresh[name], kept[name], shallow=False)
        }
    return sorted(changed | (fresh.keys() ^ kept.keys()))


def _files(root: Path) -> dict[str, Path]:
    return {str(path.relative_to(root)): path for path in root.rglob("*.py*") if path.suffix in (".py", ".pyi")}


def main() -> None:
    if sys.argv[1:] != ["--check"]:
        generate(PROTO.parent)
    elif differing := drift():
        raise SystemExit("morningai/api does not match proto/; run `make proto`:\n" + "\n".join(differing))


if __name__ == "__main__":
    main()
