"""Generates `morningai/api` from the .proto files, with stubs for mypy and the `__init__.py` files.

`python proto/generate.py [output root]`; the drift check generates into a scratch folder and compares.
"""

from __future__ import annotations

import sys
import sysconfig
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
        if "service" not in (PROTO / file.relative_to(root)).with_name(file.name.split("_pb2")[0] + ".proto").read_text():
            file.unlink()


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else PROTO.parent)
