from __future__ import annotations

from pathlib import Path

from morningai.evidence.markdown import inline, render_answer, render_faq
from morningai.evidence.model import Answer, Claim, Evidence, FaqItem

GOLDEN = Path(__file__).parent / "golden"
RELAY = Evidence("morningai/bus/relay.py", "c" * 40, "b" * 40, 4, 4, "publishes due rows")
FENCED = Evidence("README.md", "c" * 40, "b" * 40, 9, 11, "```\nmake test\n```")
ANSWER = Answer(
    True,
    (
        Claim("The relay publishes due rows.", (RELAY,), "model"),
        Claim("`README.md` shows how to run <every> test, see [1].", (FENCED, RELAY), "extracted"),
    ),
    ("looked for: relay",),
)


def test_an_answer_reads_as_its_golden_file() -> None:
    rendered = render_answer("What does the relay do?\n# really", ANSWER, mark_extracted=True)
    assert rendered == (GOLDEN / "answer.md").read_text()


def test_an_faq_reads_as_its_golden_file() -> None:
    items = (FaqItem("What does the relay do?", ANSWER.claims[:1]), FaqItem("How do I test?", ANSWER.claims[1:]))
    assert render_faq("Frequently asked questions", items) == (GOLDEN / "faq.md").read_text()


def test_not_found_says_what_was_searched() -> None:
    rendered = render_answer("Kafka?", Answer(False, (), ("looked for: Kafka", "README.md")))
    assert rendered == (
        "# Kafka?\n\nNot found in the sources.\n\n## What was searched\n\n- looked for: Kafka\n- README.md\n"
    )


def test_html_is_text_and_code_stays_code() -> None:
    assert inline("a <script> and `List<int>` [3]") == "a &lt;script> and `List<int>` \\[3\\]"
