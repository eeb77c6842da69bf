"""Which engine the demo will have: the configured one, the local model (installed here), or none."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from morningai.cli.output import Output
from morningai.errors import MorningAIError


def prepare_model(output: Output, environment: Mapping[str, str]) -> bool:
    """Whether a model may be used. A model that cannot be had is no failure: the extractive engine answers."""
    if environment.get("MODEL", "").lower() == "extractive":
        output.line("Engine: extractive, as MODEL=extractive asks.")
        return False
    if environment.get("OPENAI_BASE_URL") or environment.get("OPENAI_API_KEY"):
        output.line(f"Engine: the configured endpoint {environment.get('OPENAI_BASE_URL', '')}".rstrip())
        return True
    problem = _why_not() or _install(output)
    if problem:
        output.line(f"Engine: extractive. {problem}", style="yellow")
    return True


def _why_not() -> str:
    """What no download can mend."""
    from morningai.embedded.model_server import has_avx2

    if importlib.util.find_spec("xllamacpp") is None:
        return "The package xllamacpp, which serves the local model, is not installed (extra `model`)."
    return "" if has_avx2() else "This processor has no AVX2, which the local model needs."


def _install(output: Output) -> str:
    from morningai.cli.installing import install_with_progress

    try:
        path = install_with_progress(output, None)
    except MorningAIError as error:
        return str(error)
    output.line(f"Model: {path}")
    return ""
