"""Headings turned into the questions that a reader of their section may have."""

from __future__ import annotations

import re

from morningai.evidence.words import stemmed, stems

_KNOWN = {
    "install": "How do I install {name}?",
    "installation": "How do I install {name}?",
    "installing": "How do I install {name}?",
    "setup": "How do I set {name} up?",
    "getting started": "How do I get started?",
    "get started": "How do I get started?",
    "quickstart": "How do I get started?",
    "quick start": "How do I get started?",
    "usage": "How do I use {name}?",
    "how to use": "How do I use {name}?",
    "configuration": "How is {name} configured?",
    "settings": "Which settings are there?",
    "tests": "How do I run the tests?",
    "test": "How do I run the tests?",
    "testing": "How do I run the tests?",
    "running tests": "How do I run the tests?",
    "license": "Under which license is {name} published?",
    "licence": "Under which license is {name} published?",
    "contributing": "How can I contribute?",
    "contribute": "How can I contribute?",
    "requirements": "What does {name} require?",
    "prerequisites": "What does {name} require?",
    "dependencies": "What does {name} depend on?",
    "deployment": "How do I deploy {name}?",
    "development": "How do I set up a development environment?",
    "troubleshooting": "What can I do when something does not work?",
    "security": "What should I know about security?",
    "features": "What can {name} do?",
    "architecture": "What is the architecture of {name}?",
    "layout": "How is the repository laid out?",
    "a simple example": "What does a simple example look like?",
    "example": "What does an example look like?",
    "user guide": "",
    "table of contents": "",
    "contents": "",
    "links": "",
    "where to go next": "",
    "next steps": "",
    "further reading": "",
    "see also": "",
    "what it is": "What is {name}?",
    "how it works": "How does {name} work?",
    "philosophy": "What is the philosophy of {name}?",
    "code of conduct": "Which code of conduct applies?",
    "security issues": "How do I report a security problem?",
    "reporting security issues": "How do I report a security problem?",
    "security policy": "How do I report a security problem?",
    "donate": "",
    "maintainers": "",
    "contributors": "",
    "people": "",
    "sponsors": "",
    "backers": "",
    "team": "",
    "notes": "",
    "documentation": "Where is the documentation?",
    "authors": "",
    "credits": "",
    "changelog": "",
    "introduction": "What is {name}?",
    "overview": "What is {name}?",
    "foreword": "What is {name}?",
    "about": "What is {name}?",
}
_GERUND_PAIRS = """
    running=run creating=create using=use writing=write deploying=deploy building=build testing=test
    installing=install configuring=configure adding=add handling=handle managing=manage starting=start
    setting=set making=make defining=define serving=serve registering=register working=work uploading=upload
    updating=update upgrading=upgrade developing=develop debugging=debug customizing=customize
    extending=extend loading=load generating=generate connecting=connect sending=send storing=store
    accessing=access rendering=render contributing=contribute migrating=migrate releasing=release
    reading=read validating=validate overriding=override enabling=enable disabling=disable calling=call
    publishing=publish stopping=stop monitoring=monitor getting=get passing=pass modifying=modify
    changing=change removing=remove listing=list checking=check
"""
_GERUNDS = dict(pair.split("=") for pair in _GERUND_PAIRS.split())
_IMPERATIVES = frozenset(_GERUNDS.values()) | {
    "initialize",
    "activate",
    "open",
    "import",
    "show",
    "delete",
    "download",
    "clone",
}
_INTERROGATIVE = re.compile(r"^(?:what|why|how|when|where|who|which|can|does|do|is|are|should|may)\b", re.IGNORECASE)
_NUMBERED = re.compile(r"^(?:\d+(?:\.\d+)*[.)]?|[IVX]+\.)\s+")
_COUNTS = frozenset(("one", "two", "three", "four", "five", "six", "seven", "some", "more", "other"))
_PREPOSITIONS = frozenset(("on", "with", "without", "in", "from", "inside", "behind", "through"))
_LONGEST_HEADING_WORDS = 6


def heading_question(heading: str, text: str, name: str) -> tuple[str, float]:
    """The question and how natural it is (0..1); an empty question for headings nobody asks about.

    `text` is the section, which tells words from names; `name` is what the project is called.
    """
    title = _NUMBERED.sub("", heading.strip().strip("#*: ")).strip()
    known = _KNOWN.get(title.lower().rstrip("."))
    if known is not None:
        return known.format(name=name), 1.0 if known else 0.0
    if not title or len(title.split()) > _LONGEST_HEADING_WORDS or not title[0].isalpha():
        return "", 0.0
    if re.match(r"(?i)contribut(?:e|ing) to\b", title):
        return _KNOWN["contributing"], 1.0
    if title.endswith("?"):
        return _asked(title, name)
    words = _lowered(title, text, name)
    if re.match(r"(?i)how to ", words):
        return f"How do I {words[7:]}?", 1.0
    if _INTERROGATIVE.match(words):
        return _asked(words, name)[0], 0.8
    first, _, rest = words.partition(" ")
    if rest and first.lower() in _GERUNDS:
        rest = re.sub(r"\band (\w+ing)\b", lambda found: f"and {_GERUNDS.get(found[1].lower(), found[1])}", rest)
        rest = _without_second_subject(rest)
        return f"How do I {_GERUNDS[first.lower()]} {rest}?", 0.95
    if rest and first.lower() in _IMPERATIVES:
        return f"How do I {first.lower()} {rest}?", 0.95
    if first.lower() in _PREPOSITIONS:
        return f"How do I use {name} {_said_by_reader(words)}?", 0.9
    return _about_noun(words, text)


def _asked(title: str, name: str) -> tuple[str, float]:
    """A heading that asks already, without Title Case; a single word asks nothing."""
    first, *others = title.rstrip("?").split()
    if not others or not _INTERROGATIVE.match(first):
        return "", 0.0
    is_title_case = len(others) > 1 and all(word[:1].isupper() for word in others if len(word) > 3)
    if is_title_case:
        others = [word.lower() if word[1:].islower() and word.lower() != name.lower() else word for word in others]
    return f"{first.capitalize()} {' '.join(others)}?", 1.0


def _said_by_reader(words: str) -> str:
    return re.sub(r"\byour\b", "my", f"{words[0].lower()}{words[1:]}")


def _about_noun(words: str, text: str) -> tuple[str, float]:
    if any(mark in words for mark in ":/&,!.") or words.split()[0].lower() in _COUNTS:
        return "", 0.0
    noun = re.sub(r"^(?:the|a|an) ", "", words, flags=re.IGNORECASE)
    is_plural = " and " in noun or (noun.rstrip("s") != noun and not noun.endswith(("ss", "us", "is")))
    verb = r"are\b" if is_plural else r"is\s+(?:a|an|the)\b"
    defines = re.search(rf"(?i)\b{re.escape(noun)}\b[`*]*\s+{verb}", text)
    asked = words if words.lower().startswith(("the ", "a ", "an ")) else noun
    if defines:
        return f"What {'are' if is_plural else 'is'} {asked}?", 0.85
    if is_plural and noun[0].islower():
        return f"How do {asked} work?", 0.6
    return f"What should I know about {asked}?", 0.5


def _without_second_subject(rest: str) -> str:
    """`Requests` of "Installing Requests and Supported Versions": what else the section holds is not asked about."""
    first, _, second = rest.partition(" and ")
    is_another = len(second.split()) > 1 and second.split()[0].lower() not in _IMPERATIVES
    return first if first and is_another else rest


def _lowered(title: str, text: str, name: str) -> str:
    """Title Case undone for words that the section also writes in lower case; names keep theirs."""
    body = text.split("\n", 1)[-1]
    return " ".join(
        word.lower()
        if (
            word[:1].isupper()
            and word[1:].islower()
            and word.lower() != name.lower()
            and re.search(rf"(?<![\w/.`-]){re.escape(word.lower().rstrip('s'))}s?(?![\w/`-])", body)
        )
        or word in {"A", "An", "The", "Of", "In", "And", "To", "With", "For", "On", "Your"}
        else word
        for word in title.split()
    )


def question_words(question: str) -> frozenset[str]:
    """What two questions are compared by."""
    return frozenset(stems(question)) - _QUESTION_WORDS


_QUESTION_WORDS = stemmed("what how do does is are the a an i in which can of to for service function table")
