"""`python -m tests.chaos.service NAME`: one service as it is shipped, after the patches of a chaos run were installed.

The product has no hooks for tests: fail points and sabotage are modules named in MORNINGAI_CHAOS_PATCHES (comma
separated), each with `install(folder, service)`; MORNINGAI_CHAOS_FOLDER is the folder of the run's evidence.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

PATCHES = "MORNINGAI_CHAOS_PATCHES"
FOLDER = "MORNINGAI_CHAOS_FOLDER"


def install_patches(service: str) -> None:
    for name in filter(None, os.environ.get(PATCHES, "").split(",")):
        install = cast(Callable[[Path, str], None], import_module(name.strip()).install)
        install(Path(os.environ[FOLDER]), service)


def main(service: str) -> None:
    install_patches(service)
    sys.argv = [f"services.{service}"]
    runpy.run_module(f"services.{service}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1])
