"""What a shell or a program learns from the end of a command."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    SUCCESS = 0
    FAILED = 1
    BAD_INPUT = 2
    DATA_DIR_IS_LIVE = 3
    NOT_ALLOWED = 4
    UNREACHABLE = 5
    PARTLY_SUCCEEDED = 6
    INTERRUPTED = 130


EXIT_CODES_HELP = """\b
Exit codes:
    0  success
    1  the task failed, was cancelled or expired; or another failure
    2  bad usage, or an argument that was refused
    3  the data folder is in use by a running MorningAI (up)
    4  no valid key, or a key without the permission
    5  the platform cannot be reached
    6  the task succeeded partly
  130  interrupted; a task goes on without its watcher"""
