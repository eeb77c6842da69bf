"""What one sandboxed run may use of this machine."""

from __future__ import annotations

from dataclasses import dataclass

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    wall_seconds: float = 120.0
    cpu_seconds: int = 120
    """Per process; the wall time bounds their sum."""
    memory_bytes: int = 1024 * MEBIBYTE
    """Of one process everywhere; of the whole run, its files included, where a control group can be had."""
    processes: int = 64
    file_bytes: int = 64 * MEBIBYTE
    workspace_bytes: int = 256 * MEBIBYTE
    scratch_bytes: int = 64 * MEBIBYTE
    output_bytes: int = 2 * MEBIBYTE
    open_files: int = 256
