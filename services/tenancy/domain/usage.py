"""Limits, and what was used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from morningai.errors import InvalidInput

LARGEST_VALUE = 2**63 - 1
LONGEST_MODEL = 200
LONGEST_PERIOD_DAYS = 366
DATE_REMEDY = "Write it as YYYY-MM-DD."


class Group(StrEnum):
    DAY = "day"
    MONTH = "month"
    TASK = "task"
    MODEL = "model"


@dataclass(frozen=True)
class Period:
    """Whole days in UTC, both included."""

    start: date
    end: date


@dataclass(frozen=True)
class Used:
    """`key` is the day, month, task or model that the sums are of."""

    key: str
    calls: int
    calls_in_full: int
    prompt_tokens: int
    completion_tokens: int
    money_micros: int


@dataclass(frozen=True)
class Limit:
    """None is no limit, and for what was set that nothing was."""

    name: str
    description: str
    value: int | None
    operator_value: int | None
    tenant_value: int | None
    used: int | None


@dataclass(frozen=True)
class Price:
    """Millionths of the currency for a million tokens."""

    model: str
    prompt_price: int
    completion_price: int


def check_period(start: str, end: str, *, today: date) -> Period:
    """Raises InvalidInput; empty dates are the first of this month and today."""
    period = Period(
        _date("start_date", start) if start else today.replace(day=1), _date("end_date", end) if end else today
    )
    if period.end < period.start:
        raise InvalidInput("end_date", "lies before the start.", remedy="Give a later one.")
    if (period.end - period.start).days > LONGEST_PERIOD_DAYS:
        raise InvalidInput(
            "end_date", "is too far from the start.", remedy=f"Ask for {LONGEST_PERIOD_DAYS} days at most."
        )
    return period


def check_value(value: int | None) -> int | None:
    if value is not None and value < 0:
        raise InvalidInput("changes.value", f"{value} is negative.", remedy="Use 0 or more; leave it out for none.")
    return value


def check_price(price: Price) -> Price:
    if not price.model or len(price.model) > LONGEST_MODEL:
        raise InvalidInput("price.model", "is not the name of a model.", remedy=f"Use 1 to {LONGEST_MODEL} characters.")
    for field, value in (("prompt_price", price.prompt_price), ("completion_price", price.completion_price)):
        if value < 0:
            raise InvalidInput(f"price.{field}", f"{value} is negative.", remedy="Use 0 or more.")
    return price


def _date(field: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(field, "is not a date.", remedy=DATE_REMEDY) from error
