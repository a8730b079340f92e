"""From a remote's URL to a repository on a forge."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_acms.blocks.publishing import ForgeKind, PublishSettings
from prefect_acms.canonical.errors import CredentialsMissing, InvalidValue
from prefect_acms.dao.redaction import redact
from prefect_acms.tasks.forge_addresses import RemoteUrl, address_of, origin_of
from prefect_acms.tasks.forge_tokens import token_for

GITHUB, GITLAB, GITEA = ForgeKind.GITHUB, ForgeKind.GITLAB, ForgeKind.GITEA

TOLD = [
    ("https://github.com/acme/shop.git", {}, (GITHUB, "https://github.com", "acme/shop")),
    ("https://github.com/acme/shop", {}, (GITHUB, "https://github.com", "acme/shop")),
    ("https://GitHub.com:443/acme/shop.git/", {}, (GITHUB, "https://github.com", "acme/shop")),
    ("git@github.com:acme/shop.git", {}, (GITHUB, "https://github.com", "acme/shop")),
    ("github.com:acme/shop", {}, (GITHUB, "https://github.com", "acme/shop")),
    ("ssh://git@github.com/acme/shop.git", {}, (GITHUB, "https://github.com", "acme/shop")),
    ("ssh://git@ssh.github.com:443/acme/shop.git", {}, (GITHUB, "https://github.com", "acme/shop")),
    ("git://github.com/acme/shop.git", {}, (GITHUB, "https://github.com", "acme/shop")),
    ("https://github.acme.org/acme/shop.v2.git", {}, (GITHUB, "https://github.acme.org", "acme/shop.v2")),
    ("https://gitlab.com/acme/tools/deep/shop.git", {}, (GITLAB, "https://gitlab.com", "acme/tools/deep/shop")),
    ("git@gitlab.com:acme/tools/shop.git", {}, (GITLAB, "https://gitlab.com", "acme/tools/shop")),
    ("ssh://git@altssh.gitlab.com:443/acme/shop.git", {}, (GITLAB, "https://gitlab.com", "acme/shop")),
    ("https://gitlab.acme.org:8443/acme/shop.git", {}, (GITLAB, "https://gitlab.acme.org:8443", "acme/shop")),
    ("ssh://git@gitlab.acme.org:2222/acme/shop.git", {}, (GITLAB, "https://gitlab.acme.org", "acme/shop")),
    ("https://codeberg.org/acme/shop.git", {}, (GITEA, "https://codeberg.org", "acme/shop")),
    ("ssh://git@gitea.acme.org:2222/acme/shop.git", {}, (GITEA, "https://gitea.acme.org", "acme/shop")),
    ("git@[2001:db8::1]:acme/shop.git", {"forge": "gitea"}, (GITEA, "https://[2001:db8::1]", "acme/shop")),
    ("https://git.acme.org/acme/shop.git", {"forge": "gitlab"}, (GITLAB, "https://git.acme.org", "acme/shop")),
    (
        "https://acme.org/gitlab/acme/shop.git",
        {"forge": "gitlab", "forge_url": "https://acme.org/gitlab/"},
        (GITLAB, "https://acme.org/gitlab", "acme/shop"),
    ),
    (
        "/srv/git/shop.git",
        {"forge": "gitea", "forge_url": "http://127.0.0.1:3000", "project": "acme/shop"},
        (GITEA, "http://127.0.0.1:3000", "acme/shop"),
    ),
    (
        "file:///srv/git/shop.git",
        {"forge_url": "https://github.com", "project": "acme/shop"},
        (GITHUB, "https://github.com", "acme/shop"),
    ),
]


@pytest.mark.parametrize(("url", "given", "told"), TOLD, ids=[url for url, _, _ in TOLD])
def test_a_remote_tells_its_forge(url: str, given: dict[str, Any], told: tuple[ForgeKind, str, str]) -> None:
    """Its kind, its web address and the project, whichever way the URL is written."""
    found = address_of(RemoteUrl.parse(url), PublishSettings.model_validate(given))
    assert (found.kind, found.url, found.project) == told


@pytest.mark.parametrize(
    ("url", "given", "field"),
    [
        ("https://git.acme.org/acme/shop.git", {}, "publish.forge"),
        ("/srv/git/shop.git", {}, "publish.forge_url"),
        ("file:///srv/git/shop.git", {"forge": "github"}, "publish.forge_url"),
        ("/srv/git/shop.git", {"forge_url": "https://github.com"}, "publish.project"),
        ("https://github.com/acme/tools/shop.git", {}, "publish.project"),
        ("https://gitlab.com/shop.git", {}, "publish.project"),
    ],
)
def test_what_the_remote_does_not_tell_is_asked_for_by_name(url: str, given: dict[str, Any], field: str) -> None:
    """One sentence that names the setting."""
    with pytest.raises(InvalidValue, match=field):
        address_of(RemoteUrl.parse(url), PublishSettings.model_validate(given))


@pytest.mark.parametrize(("scheme", "word"), [("https", "s3cret"), ("HTTPS", "h1dden"), ("Https", "c0vert")])
def test_credentials_in_a_remotes_url_are_left_out_and_hidden(scheme: str, word: str) -> None:
    """They are the repository's configuration, of which none is used; the scheme's case changes nothing."""
    url = RemoteUrl.parse(f"{scheme}://me:{word}%2Fpassw0rd@git.acme.org/acme/shop.git")
    assert url.text == "https://git.acme.org/acme/shop.git"
    assert word not in redact(f"{word}/passw0rd and {word}%2Fpassw0rd")


@pytest.mark.parametrize(
    ("variables", "url", "token"),
    [
        ({"ACMS_FORGE_TOKEN": "a-token-1"}, "https://github.com", "a-token-1"),
        ({"ACMS_FORGE_TOKEN": "a-token-1"}, "https://git.acme.org", None),
        (
            {"ACMS_FORGE_TOKEN": "a-token-1", "ACMS_FORGE_URL": "https://git.acme.org/"},
            "https://git.acme.org",
            "a-token-1",
        ),
        ({"ACMS_FORGE_TOKEN": "a-token-1", "ACMS_FORGE_URL": "https://git.acme.org"}, "https://git.acme.org:444", None),
        ({"ACMS_FORGE_TOKEN": "a-token-1", "ACMS_FORGE_URL": "http://git.acme.org"}, "http://git.acme.org", None),
        ({"GITHUB_TOKEN": "a-token-2"}, "https://github.com", "a-token-2"),
        ({"GH_TOKEN": "a-token-3"}, "https://github.com", "a-token-3"),
        ({"GITHUB_TOKEN": "a-token-2"}, "https://gitlab.com", None),
        ({"GITLAB_TOKEN": "a-token-4"}, "https://gitlab.com", "a-token-4"),
        ({"GITLAB_TOKEN": "a-token-4", "CI_SERVER_URL": "https://git.acme.org"}, "https://gitlab.com", None),
        (
            {"GITEA_TOKEN": "a-token-5", "GITEA_SERVER_URL": "http://127.0.0.1:3000"},
            "http://127.0.0.1:3000",
            "a-token-5",
        ),
    ],
)
def test_a_token_goes_to_its_own_forge_only(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, token: str | None
) -> None:
    """Whatever a remote's URL says: a tool could have written it."""
    for name in ("ACMS_FORGE_TOKEN", "GITHUB_TOKEN", "GH_TOKEN", "GITLAB_TOKEN", "GITEA_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if token is None:
        with pytest.raises(CredentialsMissing, match="there are no credentials for"):
            token_for(url, None)
    else:
        found = token_for(url, None)
        assert (found.value, token in repr(found), token in redact(token)) == (token, False, False)


def test_origins_are_told_apart_by_scheme_host_and_port() -> None:
    """The path does not matter, the usual port is the same as none."""
    assert origin_of("https://a.org/x") == origin_of("https://A.org:443") != origin_of("http://a.org")
