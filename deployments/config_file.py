"""A configuration file: PipelineConfig as TOML, its relative paths meant from where the file is."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prefect_acms.blocks.config import PipelineConfig
from prefect_acms.canonical.errors import InvalidDocument
from prefect_acms.deployments.failures import validation_sentence

_PATHS = (("repository",), ("discovery", "baseline"))
_PATH_LISTS = (("discovery", "reports"), ("discovery", "sarif"), ("execution", "tool_files"))


def read_config_file(path: Path) -> dict[str, Any]:
    """The settings that the file names, checked; raises InvalidDocument with the file, the place and the problem."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidDocument(path=path, where="the file", problem=error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise InvalidDocument(path=path, where=f"byte {error.start}", problem="it is not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidDocument(path=path, where="TOML", problem=str(error)) from error
    try:
        # a repository need not be in the file: the command line names it
        named = {} if "workspace" in values.get("blocks", {}) else {"repository": "."}
        PipelineConfig.model_validate({**named, **values})
    except ValidationError as error:
        raise InvalidDocument(path=path, where="settings", problem=validation_sentence(error)) from error
    return _from_here(values, path.absolute().parent)


def _from_here(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    for route in _PATHS + _PATH_LISTS:
        section = values
        for key in route[:-1]:
            section = section.get(key, {})
        if route[-1] in section:
            found = section[route[-1]]
            section[route[-1]] = [folder / part for part in found] if route in _PATH_LISTS else folder / found
    return values
