"""The one client for OpenAI-compatible model endpoints; prompts are versioned files and answers are checked.

What needs the OpenAI library, a third of a service's memory, is loaded when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from morningai.llm.budget import Budget, Reservation, Uncharged
from morningai.llm.completion import Completion
from morningai.llm.errors import (
    BudgetExhausted,
    ModelFailure,
    ModelOutputCut,
    ModelOutputInvalid,
    ModelPromptTooLong,
    ModelRefused,
    ModelTruncated,
    ModelUnavailable,
    TaskLimitReached,
    Usage,
)
from morningai.llm.models import Models
from morningai.llm.prompt import Prompt, PromptTemplate, load_prompt
from morningai.llm.settings import ModelSettings
from morningai.llm.start import connect_model
from morningai.llm.tenant_budget import TenantBudget
from morningai.llm.tokens import estimate_tokens

if TYPE_CHECKING:
    from morningai.llm.client import ModelClient
    from morningai.llm.tracing import instrument_model_calls

__all__ = [
    "Budget",
    "BudgetExhausted",
    "Completion",
    "ModelClient",
    "ModelFailure",
    "ModelOutputCut",
    "ModelOutputInvalid",
    "ModelPromptTooLong",
    "ModelRefused",
    "ModelSettings",
    "ModelTruncated",
    "ModelUnavailable",
    "Models",
    "Prompt",
    "PromptTemplate",
    "Reservation",
    "TaskLimitReached",
    "TenantBudget",
    "Uncharged",
    "Usage",
    "connect_model",
    "estimate_tokens",
    "instrument_model_calls",
    "load_prompt",
]

_LOADED_WHEN_ASKED = {"ModelClient": "client", "instrument_model_calls": "tracing"}


def __getattr__(name: str) -> object:
    if name not in _LOADED_WHEN_ASKED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LOADED_WHEN_ASKED[name]}"), name)
