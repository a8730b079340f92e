"""The secrets of a block, told to the redactor before anybody can write them down."""

from __future__ import annotations

from pydantic import BaseModel, SecretBytes, SecretStr

from prefect_acms.dao.redaction import KNOWN


def learn_secrets(model: BaseModel) -> None:
    """Hide the values of a block's secret fields, and of the models in it, from now on and everywhere."""
    for value in dict(model).values():
        match value:
            case SecretStr():
                KNOWN.learn(value.get_secret_value())
            case SecretBytes():
                KNOWN.learn(value.get_secret_value().decode("utf-8", "surrogateescape"))
            case BaseModel():
                learn_secrets(value)
