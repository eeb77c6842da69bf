"""What can go wrong with a call to a model; each error carries the tokens that were spent until then.

MorningAIError
├── Unavailable
│   └── ModelUnavailable      every attempt met a refusal, a stall, a cut or a dead server; worth trying later
└── StepFailure
    └── ModelFailure          trying the same call again would not help
        ├── ModelOutputInvalid    the answer did not fit the schema, nor did its repair
        ├── ModelOutputCut        the answer reached the token limit and stopped in the middle
        ├── ModelTruncated        the server silently dropped part of the prompt
        ├── ModelPromptTooLong    prompt and answer do not fit the context
        ├── ModelRefused          the server refused the call: key, model name, or content
        ├── BudgetExhausted       the tenant's budget has not so much left; nothing was sent
        └── TaskLimitReached      the task may not spend so much without an approval; nothing was sent
"""

from __future__ import annotations

from dataclasses import dataclass

from morningai.errors import StepFailure, Unavailable
from morningai.llm.settings import PLATFORM_NAMES, SettingNames


@dataclass(frozen=True)
class Usage:
    """Tokens over all attempts; of an attempt that was cut off, an estimate."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens)


class ModelUnavailable(Unavailable):
    reason = "MODEL_UNAVAILABLE"

    def __init__(
        self,
        cause: str,
        *,
        attempts: int,
        usage: Usage | None = None,
        retry_after_seconds: float | None = None,
        names: SettingNames = PLATFORM_NAMES,
    ) -> None:
        super().__init__(
            f"The model did not answer after {attempts} attempt(s): {cause}.",
            remedy=f"Check that the endpoint in {names.base_url} is up.",
            retry_after_seconds=retry_after_seconds,
        )
        self.cause = cause
        self.attempts = attempts
        self.usage = usage or Usage()


class ModelFailure(StepFailure):
    usage: Usage = Usage()


class ModelOutputInvalid(ModelFailure):
    def __init__(self, problem: str) -> None:
        super().__init__(
            "model_output_invalid",
            f"The model's answer could not be used, nor could its repair: {problem}.",
            remedy="Try again, or use a larger model.",
        )
        self.problem = problem


class ModelOutputCut(ModelFailure):
    def __init__(self, max_output_tokens: int) -> None:
        super().__init__(
            "model_output_cut",
            f"The model's answer was cut at its limit of {max_output_tokens} tokens.",
            remedy="Ask for less at once, or use a model that answers more briefly.",
        )
        self.max_output_tokens = max_output_tokens


class ModelTruncated(ModelFailure):
    def __init__(self, *, reported_tokens: int, expected_tokens: int, names: SettingNames = PLATFORM_NAMES) -> None:
        super().__init__(
            "model_prompt_truncated",
            f"The server read {reported_tokens} tokens of a prompt of at least {expected_tokens}.",
            remedy=f"Give the server a longer context, or set {names.context_tokens} to the one it has.",
        )
        self.reported_tokens = reported_tokens
        self.expected_tokens = expected_tokens


class ModelPromptTooLong(ModelFailure):
    def __init__(
        self,
        *,
        prompt_tokens: int,
        max_output_tokens: int,
        context_tokens: int,
        names: SettingNames = PLATFORM_NAMES,
    ) -> None:
        super().__init__(
            "model_prompt_too_long",
            f"A prompt of about {prompt_tokens} tokens and an answer of {max_output_tokens} "
            f"do not fit a context of {context_tokens}.",
            remedy=f"Ask about less at once, or set {names.context_tokens} if the model's context is longer.",
        )
        self.prompt_tokens = prompt_tokens
        self.max_output_tokens = max_output_tokens
        self.context_tokens = context_tokens


class ModelRefused(ModelFailure):
    def __init__(self, problem: str, *, remedy: str, status: int | None = None) -> None:
        super().__init__("model_refused", f"The model's server refused the call: {problem}.", remedy=remedy)
        self.status = status


class BudgetExhausted(ModelFailure):
    def __init__(self, budget: str) -> None:
        ends = "the next month begins" if budget.endswith("month") else "the next day begins"
        super().__init__(
            "budget_exhausted",
            f"The budget {budget} of your tenant has not enough left for this call.",
            remedy=f"Wait until {ends} (UTC), or have {budget} raised; `morningai limits show` shows it.",
        )
        self.budget = budget


class TaskLimitReached(ModelFailure):
    """The reason is what the orchestrator asks for an approval at."""

    def __init__(self, limit: str) -> None:
        super().__init__(
            "task_limit_reached",
            f"With this call the task could spend more than {limit} of the tenant's policy.",
            remedy="Have somebody approve it, or raise the limit: `morningai policy show` shows it.",
        )
        self.limit = limit
