"""The agents as they are installed, sent to a provider on this machine, and what a model says to them."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from providers import KEY, Call, Provider, Reply

from prefect_acms.blocks.tool_spec import ToolSpec
from prefect_acms.tasks.profiles import load_profiles

AGENTS = ("aider", "claude", "codex", "copilot", "gemini")
STAND_IN = "obedient"
"""A script in the place of an agent, where none is installed; see `obedient.py`."""

MODELS = {
    "aider": "openai/gpt-test",
    "claude": "claude-test",
    "codex": "gpt-test",
    "copilot": "claude-test",
    "gemini": "gemini-2.5-flash",
}
_GEMINI_SETTINGS = '{"security": {"auth": {"selectedType": "gemini-api-key"}}}'
"""With an address of its own, Gemini CLI has to be told that a key is meant."""


def need(name: str) -> None:
    """Skip the test where the agent is not installed."""
    if name != STAND_IN and shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")


def profile_of(name: str, provider: Provider) -> ToolSpec:
    """The shipped one; for Codex CLI an address is no variable."""
    if name == STAND_IN:
        script = str(Path(__file__).with_name("obedient.py"))
        keys = ("OPENAI_API_KEY", "OPENAI_BASE_URL")
        alone = ("{acms_python}", script, "{prompt}")
        return ToolSpec(tool_id=name, command=alone, environment=keys, ai=True, network=True, timeout_sec=60)
    shipped = load_profiles().get(name)
    if name == "codex":
        address = f'--config=openai_base_url="{provider.openai}"'
        command = (*shipped.command[:2], address, *shipped.command[2:])
        return shipped.model_copy(update={"command": command})
    return shipped


@contextmanager
def reaching(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The variables by which agents come to the provider, and the folder that they have to be able to read for it."""
    # In a folder that nobody else may write to, or it is not read; /tmp is none.
    with TemporaryDirectory(dir=Path.home()) as shown:
        (Path(shown) / "settings.json").write_text(_GEMINI_SETTINGS)
        variables = provider.variables() | {
            "CODEX_API_KEY": KEY,
            "GEMINI_CLI_SYSTEM_SETTINGS_PATH": f"{shown}/settings.json",
            "COPILOT_OFFLINE": "true",
            "COPILOT_PROVIDER_API_KEY": KEY,
            "COPILOT_PROVIDER_BASE_URL": provider.url,
            "COPILOT_PROVIDER_TYPE": "anthropic",
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield Path(shown)


class Wanted(NamedTuple):
    """Something that a model wants an agent to do in a work tree: `read`, `write`, `run` or `fetch`."""

    what: str
    target: str
    search: str = ""
    replace: str = ""

    def calls(self, name: str, top: Path) -> tuple[Call, ...]:
        """The calls of that agent's own tools that do it, one after the other."""
        path = str(top / self.target)
        if name == "codex":
            return (Call("exec_command", {"cmd": self._command(path)}),)
        if name == STAND_IN:
            key = {"run": "command", "fetch": "url"}.get(self.what, "path")
            told = self.target if key != "path" else path
            return (Call(self.what, {key: told, "search": self.search, "replace": self.replace}),)
        return tuple(Call(tool, told) for tool, told in _CALLS[name](self, path))

    def _command(self, path: str) -> str:
        match self.what:
            case "read":
                return f"cat {shlex.quote(path)}"
            case "run":
                return self.target
            case "fetch":
                return f"curl -sS -m 3 {shlex.quote(self.target)}"
        edit = (
            "import pathlib, sys; path = pathlib.Path(sys.argv[1]); search, replace = sys.argv[2:];"
            "path.parent.mkdir(parents=True, exist_ok=True);"
            "path.write_text(path.read_text().replace(search, replace) if search else replace)"
        )
        return shlex.join(["python3", "-c", edit, path, self.search, self.replace])


_Calls = Iterator[tuple[str, Mapping[str, str]]]


def _claude(wanted: Wanted, path: str) -> _Calls:
    if wanted.what == "run":
        yield "Bash", {"command": wanted.target}
    elif wanted.what == "fetch":
        yield "WebFetch", {"url": wanted.target, "prompt": "x"}
    elif wanted.what == "write" and not wanted.search:
        yield "Write", {"file_path": path, "content": wanted.replace}
    else:
        yield "Read", {"file_path": path}
        if wanted.what == "write":
            yield "Edit", {"file_path": path, "old_string": wanted.search, "new_string": wanted.replace}


def _copilot(wanted: Wanted, path: str) -> _Calls:
    if wanted.what == "run":
        yield "bash", {"command": wanted.target, "description": "x"}
    elif wanted.what == "fetch":
        yield "web_fetch", {"url": wanted.target}
    elif wanted.what == "write" and not wanted.search:
        yield "create", {"path": path, "file_text": wanted.replace}
    else:
        yield "view", {"path": path}
        if wanted.what == "write":
            yield "edit", {"path": path, "old_str": wanted.search, "new_str": wanted.replace}


def _gemini(wanted: Wanted, path: str) -> _Calls:
    if wanted.what == "run":
        yield "run_shell_command", {"command": wanted.target}
    elif wanted.what == "fetch":
        yield "web_fetch", {"prompt": f"read {wanted.target}"}
    elif wanted.what == "read":
        yield "read_file", {"file_path": path}
    elif not wanted.search:
        yield "write_file", {"file_path": path, "content": wanted.replace}
    else:
        told = {"instruction": "x", "old_string": wanted.search, "new_string": wanted.replace}
        yield "replace", {"file_path": path, **told}


_CALLS = {"claude": _claude, "copilot": _copilot, "gemini": _gemini}


def replies(name: str, top: Path, *wanted: Wanted) -> Iterator[Reply]:
    """What a model says to that agent, turn by turn, so that it does all this."""
    if name == "aider":
        yield Reply("\n".join(_block(one, top) for one in wanted))
        return
    for one in wanted:
        yield from (Reply(calls=(call,)) for call in one.calls(name, top))
    yield Reply("done")


def _block(wanted: Wanted, top: Path) -> str:
    """What aider takes for an edit: a file as a whole below its name; and for a command, which it only offers."""
    if wanted.what != "write":
        return f"Please add {wanted.target} to the chat.\n"
    place = top / wanted.target
    before = place.read_text() if wanted.search and place.is_file() else wanted.search
    after = before.replace(wanted.search, wanted.replace) if wanted.search else wanted.replace
    return f"{wanted.target}\n```\n{after}\n```\n"
