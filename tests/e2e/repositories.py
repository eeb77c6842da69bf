"""Small git repositories for tasks, each about a word of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

REPOSITORY = Path(__file__).parents[2]
_IDENTITY = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgSign=false")


def make_word() -> str:
    """A word that stands nowhere else, made of letters alone."""
    return "zep" + uuid4().hex[:10].translate(str.maketrans("0123456789", "ghijklmnop"))


def make_repository(folder: Path, files: Mapping[str, str]) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, *_IDENTITY, "commit", "-q", "--allow-empty", "-m", "start")
    return folder


def commit_all(folder: Path, files: Mapping[str, str]) -> str:
    """A commit on top, and its hash."""
    for path, text in files.items():
        (folder / path).write_text(text)
    git(folder, "add", "-A")
    git(folder, *_IDENTITY, "commit", "-q", "-m", "more")
    return git(folder, "rev-parse", "HEAD")


def clone_of_this_repository(folder: Path) -> Path:
    """At HEAD, without what is not committed."""
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(folder)], check=True)
    return folder


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def knowledge(word: str) -> dict[str, str]:
    """Something to answer questions from."""
    return {
        "README.md": (
            f"# {word.title()}\n\n"
            f"{word} keeps the temperature readings of every greenhouse and shows them on one page.\n\n"
            "## How do I install it?\n\n"
            f"Run `pip install {word}` on the machine that the sensors are connected to.\n\n"
            "## Where are the readings kept?\n\n"
            "The readings are kept in one SQLite file, which is rotated every month.\n"
        ),
        "readings.py": (
            f'"""Keeps the readings of {word}."""\n\n\n'
            "def newest(readings):\n"
            '    """Return the reading that was taken last."""\n'
            "    return max(readings, key=lambda reading: reading.time)\n"
        ),
    }


def question_about(word: str) -> str:
    return f"What does {word} keep?"


def calculator(word: str) -> dict[str, str]:
    """One wrong function with a failing test, and one right function with a passing test."""
    return {
        "README.md": f"# {word}\n",
        "calculator.py": CALCULATOR,
        "test_calculator.py": TEST_CALCULATOR,
    }


CALCULATOR = '''"""Arithmetic."""


def add(a, b):
    """Return the sum."""
    return a - b


def double(a):
    """Return twice the number."""
    return a * 2
'''
TEST_CALCULATOR = """from calculator import add, double


def test_add():
    assert add(2, 3) == 5


def test_double():
    assert double(4) == 8
"""
