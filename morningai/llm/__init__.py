"""The one client for OpenAI-compatible model endpoints; prompts are versioned files and answers are checked."""

from morningai.llm.client import Completion, ModelClient
from morningai.llm.errors import (
    ModelFailure,
    ModelOutputCut,
    ModelOutputInvalid,
    ModelPromptTooLong,
    ModelRefused,
    ModelTruncated,
    ModelUnavailable,
    Usage,
)
from morningai.llm.prompt import Prompt, PromptTemplate, load_prompt
from morningai.llm.settings import ModelSettings
from morningai.llm.tokens import estimate_tokens
from morningai.llm.tracing import instrument_model_calls

__all__ = [
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
    "Prompt",
    "PromptTemplate",
    "Usage",
    "estimate_tokens",
    "instrument_model_calls",
    "load_prompt",
]
