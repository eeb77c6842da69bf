from __future__ import annotations

import pytest

from morningai.evidence.headings import heading_question


@pytest.mark.parametrize(
    ("heading", "question"),
    [
        ("Installation", "How do I install Notes?"),
        ("3. Running the Tests", "How do I run the tests?"),
        ("Create an environment", "How do I create an environment?"),
        ("Error Handlers", "How do error handlers work?"),
        ("The Application Context", "What is the application context?"),
        ("Why Blueprints?", "Why Blueprints?"),
        ("What it is", "What is Notes?"),
        ("How to deploy", "How do I deploy?"),
        ("Accessing and Modifying the Session", "How do I access and modify the session?"),
        ("Installing Notes and Supported Versions", "How do I install Notes?"),
        ("On your own Server", "How do I use Notes on my own Server?"),
        ("Where are Errors Handled?", "Where are errors handled?"),
        ("Contributing to Notes", "How can I contribute?"),
        ("Philosophy", "What is the philosophy of Notes?"),
        ("Windows", "What should I know about Windows?"),
        ("context?", ""),
        ("Alumni, thanks for your work!", ""),
        ("Where to go next", ""),
        ("License", "Under which license is Notes published?"),
        ("Table of Contents", ""),
        ("1.2.3", ""),
        ("A very long heading that nobody would ever ask about", ""),
    ],
)
def test_a_heading_becomes_the_question_of_its_reader(heading: str, question: str) -> None:
    text = f"{heading}\nthe tests, the error handlers, the session and an application context is a place for context"
    assert heading_question(heading, text, "Notes")[0] == question
