"""What the scripted model says, and by which words its prompts are told apart."""

from __future__ import annotations

from morningai.evidence.model_answers import DraftAnswer, DraftClaim
from morningai.llm import load_prompt
from morningai.testing.model_script import ScriptedReply
from services.faqgen.domain import ANSWER_PROMPT, FAQ_PROMPT
from tests.e2e.model import ScriptedModel

ANSWERING = load_prompt("services.faqgen", *ANSWER_PROMPT).system
REWORDING = load_prompt("services.faqgen", *FAQ_PROMPT).system
# The items stay as they were mined.
REWORDED = ScriptedReply(content="1. The notes say it all.")
ADDS = "    return a + b"
RIGHT_FUNCTION = ScriptedReply(content=f"```python\ndef add(a, b):\n{ADDS}\n```")


def answer_about(word: str) -> ScriptedReply:
    """The first line shown is the one that the repository says about the word."""
    claim = DraftClaim(line=1, text=f"`{word}` keeps temperature readings.")
    return ScriptedReply(value=DraftAnswer(answered=True, claims=[claim]).model_dump())


def teach_everything(model: ScriptedModel, word: str) -> None:
    """Right replies to every prompt about the word."""
    model.teach(word, ANSWERING, replies=(answer_about(word),))
    model.teach(word, REWORDING, replies=(REWORDED,))
    model.teach(word, replies=(RIGHT_FUNCTION,))


def edit(path: str, search: str, replace: str) -> str:
    """One edit block; an empty `search` makes a new file."""
    lines = [path, "<<<<<<< SEARCH", *([search] if search else []), "=======", replace, ">>>>>>> REPLACE"]
    return "\n".join(lines) + "\n"
