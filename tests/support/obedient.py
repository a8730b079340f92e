"""An agent that stands in for those that CI has not installed: it does whatever the model calls for, and asks nobody.

It has what the real ones have, a way to read, to write, to run commands and to fetch, and none of their own limits.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

_TOOLS = [{"type": "function", "function": {"name": name}} for name in ("read", "write", "run", "fetch")]


def main(prompt: str) -> None:
    """Ask, do as told, and say what came of it, until the model calls for nothing more."""
    messages: list[Any] = [{"role": "user", "content": prompt}]
    while calls := (said := _ask(messages)).get("tool_calls"):
        messages.append(said)
        for call in calls:
            done = _do(call["function"]["name"], json.loads(call["function"]["arguments"]))
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": done})


def _ask(messages: list[Any]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}", "Content-Type": "application/json"}
    body = json.dumps({"model": "gpt-test", "messages": messages, "tools": _TOOLS}).encode()
    with urlopen(Request(f"{os.environ['OPENAI_BASE_URL']}/chat/completions", body, headers)) as answer:  # noqa: S310
        said: dict[str, Any] = json.load(answer)["choices"][0]["message"]
    return said


def _do(name: str, told: dict[str, str]) -> str:
    try:
        match name:
            case "read":
                return Path(told["path"]).read_text()
            case "write":
                return _write(Path(told["path"]), told["search"], told["replace"])
            case "run":
                return subprocess.run(told["command"], shell=True, capture_output=True, text=True, check=False).stdout  # noqa: S602
            case _:
                return str(urlopen(told["url"], timeout=5).read())  # noqa: S310
    except OSError as error:
        return str(error)


def _write(path: Path, search: str, replace: str) -> str:
    before = path.read_text() if search else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(before.replace(search, replace) if search else replace)
    return "written"


if __name__ == "__main__":
    main(sys.argv[1])
