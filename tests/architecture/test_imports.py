"""What a service does not load: each of these costs start time and memory in six processes."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT_A_MODEL = ("openai", "opentelemetry.instrumentation.genai")
WITHOUT_AN_EXPORTER = ("opentelemetry.exporter", "opentelemetry.instrumentation.psycopg")
ON_THE_OTHER_SIDE = ("typer", "morningai.cli", "morningai.embedded", "pytest")
OF_THE_ORCHESTRATOR = ("langgraph", "langchain_core")
UNUSED = (*WITHOUT_A_MODEL, *WITHOUT_AN_EXPORTER, *ON_THE_OTHER_SIDE)


@pytest.mark.parametrize(
    ("service", "unused"),
    [
        ("gateway", UNUSED + OF_THE_ORCHESTRATOR),
        ("orchestrator", UNUSED),
        ("docs", UNUSED + OF_THE_ORCHESTRATOR),
        ("faqgen", UNUSED + OF_THE_ORCHESTRATOR),
        ("codegen", UNUSED + OF_THE_ORCHESTRATOR),
        ("tenancy", UNUSED + OF_THE_ORCHESTRATOR),
    ],
)
def test_a_service_does_not_load_what_it_does_not_use(service, unused):
    script = f"import sys, services.{service}.app; print(*(name for name in {unused!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
