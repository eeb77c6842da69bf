from __future__ import annotations

import pytest
from pydantic import ValidationError

from morningai.errors import InvalidInput
from morningai.llm import ModelClient, ModelSettings

VARIABLES = ("OPENAI_BASE_URL", "OPENAI_API_KEY", "MORNINGAI_MODEL_NAME")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def test_nothing_is_configured_by_default() -> None:
    assert not ModelSettings().configured


def test_the_usual_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in zip(VARIABLES, ("http://model/v1", "key", "tiny"), strict=True):
        monkeypatch.setenv(variable, value)

    settings = ModelSettings()

    assert (settings.base_url, settings.model) == ("http://model/v1", "tiny")
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "key"


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "")

    assert not ModelSettings().configured


def test_the_key_is_not_shown() -> None:
    assert "hush" not in repr(ModelSettings.model_validate({"api_key": "hush"}))


def test_an_address_that_is_no_url_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "localhost:8080")

    with pytest.raises(ValidationError, match="OPENAI_BASE_URL must start with http"):
        ModelSettings()


def test_an_endpoint_without_a_model_name_is_refused_with_the_remedy() -> None:
    with pytest.raises(InvalidInput, match="MORNINGAI_MODEL_NAME"):
        ModelClient.from_settings(ModelSettings.model_validate({"base_url": "http://model/v1"}))
