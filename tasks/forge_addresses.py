"""From the URL of a git remote to the forge behind it: of which kind it is, its address, and the project there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from prefect_acms.blocks.publishing import ForgeKind, PublishSettings
from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.dao.redaction import KNOWN

_SCP_LIKE = re.compile(r"^(?:[^@/:]+@)?(?P<host>\[[0-9A-Fa-f:]+\]|[^/:\[\]]+):(?P<path>(?!//).+)$")
_DEFAULT_PORTS = {"https": 443, "http": 80}
_SSH_HOSTS = {"ssh.github.com": "github.com", "altssh.gitlab.com": "gitlab.com"}
"""Where a forge takes ssh under another name, for those whose firewall lets only port 443 through."""

_NAMED = {
    "github": ForgeKind.GITHUB,
    "gitlab": ForgeKind.GITLAB,
    "gitea": ForgeKind.GITEA,
    "forgejo": ForgeKind.GITEA,
    "codeberg.org": ForgeKind.GITEA,
}
_TWO_PARTS = (ForgeKind.GITHUB, ForgeKind.GITEA)


@dataclass(frozen=True, slots=True)
class RemoteUrl:
    """What a remote's URL says: `text` without user name and password, the web address of its host, and the path."""

    text: str
    web: str | None
    path: str

    @classmethod
    def parse(cls, url: str) -> RemoteUrl:
        """Take a URL apart, https, ssh, scp-like or of a file; a password in it is hidden everywhere from now on."""
        scheme, found, _ = url.partition("://")
        if not found:
            scp = _SCP_LIKE.match(url)
            return cls(url, f"https://{_host(scp['host'])}", _path(scp["path"])) if scp else cls(url, None, _path(url))
        address, scheme = urlsplit(url), scheme.lower()
        host = _host(address.hostname or "")
        if scheme not in _DEFAULT_PORTS:
            # the port of ssh or git is not that of the web
            return cls(url, f"https://{host}" if host else None, _path(address.path))
        if address.password:
            KNOWN.learn(address.password, unquote(address.password))
        port = "" if address.port in {None, _DEFAULT_PORTS[scheme]} else f":{address.port}"
        web = f"{scheme}://{host}{port}"
        return cls(f"{web}{address.path}", web, _path(address.path))


def _host(name: str) -> str:
    host = name.lower().strip("[]")
    return _SSH_HOSTS.get(host, f"[{host}]" if ":" in host else host)


def _path(path: str) -> str:
    return path.strip("/").removesuffix(".git").strip("/")


@dataclass(frozen=True, slots=True)
class ForgeAddress:
    """A repository on a forge: the kind of forge, its web address, and `owner/name` there."""

    kind: ForgeKind
    url: str
    project: str

    @property
    def web(self) -> str:
        """Where a person looks at the repository."""
        return f"{self.url}/{self.project}"


def address_of(remote: RemoteUrl, settings: PublishSettings) -> ForgeAddress:
    """The forge behind a remote, as far as settings don't say it; raises InvalidValue naming the one that is needed."""
    url = settings.forge_url or remote.web
    if url is None:
        expected = f"the address of the forge, which {remote.text!r} does not tell"
        raise InvalidValue(field="publish.forge_url", value=None, expected=expected)
    kind = settings.forge if settings.forge is not ForgeKind.AUTO else _kind_of(url)
    if kind is None:
        expected = f"github, gitlab or gitea: the address {url} does not tell"
        raise InvalidValue(field="publish.forge", value=ForgeKind.AUTO.value, expected=expected)
    project = settings.project or _project_of(remote, url)
    parts = project.split("/")
    if not all(parts) or (len(parts) != 2 if kind in _TWO_PARTS else len(parts) < 2):  # noqa: PLR2004 - owner and name
        expected = f"owner/name on {url}, which {remote.text!r} does not tell"
        raise InvalidValue(field="publish.project", value=settings.project, expected=expected)
    return ForgeAddress(kind, url, project)


def _kind_of(url: str) -> ForgeKind | None:
    host = urlsplit(url).hostname or ""
    return next((kind for name, kind in _NAMED.items() if name in host), None)


def _project_of(remote: RemoteUrl, url: str) -> str:
    """The path of the remote, less the path under which the forge itself lives."""
    if remote.web is None:
        return ""
    inside = urlsplit(url).path.strip("/")
    return remote.path.removeprefix(f"{inside}/") if inside else remote.path


def origin_of(url: str) -> str:
    """Scheme, host and port of an address: where a token goes."""
    address = urlsplit(url)
    port = address.port or _DEFAULT_PORTS.get(address.scheme)
    return f"{address.scheme}://{(address.hostname or '').lower()}:{port}"
