"""A forge of a test: a local server that speaks the documented shapes of GitHub, GitLab and Gitea, errors included."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "t0ken-of-the-forge"  # noqa: S105 - of a server of our own


class Answer(NamedTuple):
    """What the server says to one request."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = {}
    slow_sec: float = 0.0


class Asked(NamedTuple):
    """One request as the server got it."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Mapping[str, Any]
    authorization: str


@dataclass
class Forge:
    """What the server holds, and what it was asked."""

    kind: str
    project: str
    url: str = ""
    pulls: list[dict[str, Any]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    troubles: dict[tuple[str, str], list[Answer]] = field(default_factory=dict)
    """Answers that come before any other, by method and the end of the path."""

    def trouble(self, method: str, ending: str, *answers: Answer) -> None:
        """Let the next such requests be answered so."""
        self.troubles.setdefault((method, ending), []).extend(answers)

    def wrote(self) -> list[tuple[str, str]]:
        """The requests that were to change something: method and path."""
        return [(one.method, one.path) for one in self.asked if one.method != "GET"]

    def pull(self, branch: str, **facts: Any) -> dict[str, Any]:
        """A pull request that is there: `title`, `body`, `state` (open, closed, merged) and others may be given."""
        made = {"number": len(self.pulls) + 1, "branch": branch, "base": "main", "title": "t", "body": "",
                "state": "open", "labels": [], "draft": False, "fork": False, "deleted": False, **facts}  # fmt: skip
        self.pulls.append(made)
        return made

    # -- the three ways to tell it ---------------------------------------------------------------------------------

    def shown(self, pull: Mapping[str, Any]) -> dict[str, Any]:
        """A pull request as this kind of forge shows it."""
        show = {
            "github": self._shown_by_github,
            "gitlab": self._shown_by_gitlab,
            "gitea": self._shown_by_gitea,
        }[self.kind]
        return show(pull)

    def _shown_by_github(self, pull: Mapping[str, Any]) -> dict[str, Any]:
        head = {"id": 2 if pull["fork"] else 1, "full_name": "fork/shop" if pull["fork"] else self.project}
        number, merged = pull["number"], pull["state"] == "merged"
        api = f"{self.url}/api/v3/repos/{self.project}"
        return {
            "url": f"{api}/pulls/{number}", "issue_url": f"{api}/issues/{number}", "id": number, "number": number,
            "html_url": f"{self.url}/{self.project}/pull/{number}", "title": pull["title"],
            "body": pull["body"] or None,
            "state": "open" if pull["state"] == "open" else "closed", "draft": pull["draft"],
            "merged_at": "2026-01-01T00:00:00Z" if merged else None,
            "head": {"ref": pull["branch"], "sha": "0" * 40, "repo": head},
            "base": {"ref": pull["base"], "sha": "0" * 40, "repo": {"id": 1, "full_name": self.project}},
        }  # fmt: skip

    def _shown_by_gitlab(self, pull: Mapping[str, Any]) -> dict[str, Any]:
        state = {"open": "opened"}.get(pull["state"], pull["state"])
        return {
            "id": 1000 + pull["number"], "iid": pull["number"], "title": pull["title"], "description": pull["body"],
            "state": state, "source_branch": pull["branch"], "target_branch": pull["base"],
            "source_project_id": 2 if pull["fork"] else 1, "target_project_id": 1, "labels": pull["labels"],
            "draft": pull["draft"], "web_url": f"{self.url}/{self.project}/-/merge_requests/{pull['number']}",
        }  # fmt: skip

    def _shown_by_gitea(self, pull: Mapping[str, Any]) -> dict[str, Any]:
        repo = {"id": 1, "full_name": self.project}
        ref = f"refs/pull/{pull['number']}/head" if pull["deleted"] else pull["branch"]
        return {
            "id": 1000 + pull["number"], "number": pull["number"], "title": pull["title"], "body": pull["body"],
            "state": "open" if pull["state"] == "open" else "closed", "merged": pull["state"] == "merged",
            "html_url": f"{self.url}/{self.project}/pulls/{pull['number']}",
            "head": {"label": pull["branch"], "ref": ref, "repo_id": 2 if pull["fork"] else 1, "repo": repo},
            "base": {"label": pull["base"], "ref": pull["base"], "repo_id": 1, "repo": repo},
        }  # fmt: skip

    # -- the routes ------------------------------------------------------------------------------------------------

    def answer(self, asked: Asked) -> Answer:
        """What it says."""
        self.asked.append(asked)
        for (method, ending), answers in self.troubles.items():
            if asked.method == method and asked.path.endswith(ending) and answers:
                return answers.pop(0)
        if asked.authorization not in {f"Bearer {TOKEN}", f"token {TOKEN}"}:
            return Answer(401, {"message": "Bad credentials"})
        root, requests = {
            "github": (f"/api/v3/repos/{self.project}", "/pulls"),
            "gitlab": (f"/api/v4/projects/{self.project}", "/merge_requests"),
            "gitea": (f"/api/v1/repos/{self.project}", "/pulls"),
        }[self.kind]
        if not asked.path.startswith(f"{root}/"):
            return Answer(404, {"message": "Not Found"})
        return self._route(asked, asked.path.removeprefix(root), requests)

    def _route(self, asked: Asked, path: str, requests: str) -> Answer:  # noqa: PLR0911 - one a route
        parts = path.strip("/").split("/")
        pull = next((one for one in self.pulls if len(parts) > 1 and parts[1] == str(one["number"])), None)
        match asked.method, parts:
            case "GET", [_] if path == requests:
                return self._listed(asked)
            case "POST", [_] if path == requests:
                return self._created(asked.body)
            case "GET", ["labels"]:
                return Answer(200, [{"id": number, "name": name} for number, name in enumerate(self.labels, 1)])
            case "POST", ["labels"]:
                self.labels.append(asked.body["name"])
                return Answer(201, {"id": len(self.labels), "name": asked.body["name"]})
            case "POST", ["issues", _, "labels"] if pull is not None:
                names = asked.body["labels"] if self.kind == "gitea" else asked.body
                given = [self.labels[name - 1] if isinstance(name, int) else name for name in names]
                pull["labels"] += given
                return Answer(200, [{"name": name} for name in pull["labels"]])
            case "GET", [_, _] if pull is not None:
                return Answer(200, self.shown(pull))
            case (("PATCH" | "PUT"), [_, _]) if pull is not None:
                pull["body"] = asked.body.get("body", asked.body.get("description", pull["body"]))
                pull["labels"] += [name for name in asked.body.get("add_labels", "").split(",") if name]
                return Answer(200, self.shown(pull))
        return Answer(404, {"message": "Not Found"})

    def _listed(self, asked: Asked) -> Answer:
        wanted, query = asked.query.get("state", "open"), asked.query
        states = {"open": {"open"}, "opened": {"open"}, "merged": {"merged"}}.get(wanted, {"closed", "merged"})
        if self.kind == "gitlab" and wanted == "closed":
            states = {"closed"}
        found = [one for one in self.pulls if one["state"] in states]
        if base := query.get("base", query.get("target_branch")):
            found = [one for one in found if one["base"] == base]
        size, page = int(query.get("per_page", query.get("limit", "30"))), int(query.get("page", "1"))
        shown = [self.shown(one) for one in found[(page - 1) * size : page * size]]
        headers = {"X-Total-Count": str(len(found)), "X-Page": str(page), "X-Per-Page": str(size)}
        if page * size < len(found):
            again = "&".join(f"{name}={value}" for name, value in {**query, "page": page + 1}.items())
            headers["Link"] = f'<{self.url}{asked.path}?{again}>; rel="next"'
            headers["X-Next-Page"] = str(page + 1)
        return Answer(200, shown, headers)

    def _created(self, body: Mapping[str, Any]) -> Answer:
        branch = body.get("head", body.get("source_branch"))
        there = next((one for one in self.pulls if one["branch"] == branch and one["state"] == "open"), None)
        if there is not None:
            return self._exists(there)
        title = body["title"]
        draft = bool(body.get("draft")) or title.startswith(("Draft: ", "WIP: "))
        text, base = body.get("body", body.get("description")), body.get("base", body.get("target_branch"))
        return Answer(201, self.shown(self.pull(str(branch), title=title, body=text, base=base, draft=draft)))

    def _exists(self, there: Mapping[str, Any]) -> Answer:
        number, branch = there["number"], there["branch"]
        if self.kind == "github":
            told = f"A pull request already exists for {self.project.partition('/')[0]}:{branch}."
            detail = {"resource": "PullRequest", "code": "custom", "message": told}
            return Answer(422, {"message": "Validation Failed", "errors": [detail], "documentation_url": "x"})
        if self.kind == "gitlab":
            told = f"Another open merge request already exists for this source branch: !{number}"
            return Answer(409, {"message": [told]})
        told = f"pull request already exists for these targets [id: {number}, head_branch: {branch}]"
        return Answer(409, {"message": told, "url": "x"})


@contextmanager
def forge_server(kind: str, project: str = "acme/shop") -> Iterator[Forge]:
    """A forge of that kind on a free port of this machine."""
    forge = Forge(kind, project)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            address = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            asked = Asked(self.command, unquote(address.path), query, body, self.headers.get("Authorization", ""))
            said = forge.answer(asked)
            time.sleep(said.slow_sec)
            content = json.dumps(said.body).encode()
            self.send_response(said.status)
            for name, value in {"Content-Type": "application/json", **said.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            with suppress(ConnectionError):  # who asked has not waited for so slow an answer
                self.end_headers()
                self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = _do  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    forge.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield forge
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
