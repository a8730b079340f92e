"""Secrets that give themselves away by their shape: tokens, private keys, passwords in URLs.

The shapes are detect-secrets' own, the few of them that are hardly ever wrong: what is found is hidden, or has a patch
refused. Entropy and names of variables are left to others.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

_HINTS = (
    *("A3T", "AKIA", "ABIA", "ACCA", "ASIA", "aws", "AWS", "Aws", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat"),
    *("glpat-", "gldt-", "glft-", "glsoat-", "glrt-", "GR1348941", "glcbt-", "glimt-", "glptt-", "glagent-", "gloas-"),
    *(
        "xox",
        "XOX",
        "hooks.slack",
        "HOOKS.SLACK",
        "k_live_",
        "eyJ",
        "-----BEGIN",
        "sk-",
        "pypi-AgE",
        "SG.",
        "_authTok",
        "%3A%2F%2F",
        "%3a%2f%2f",
    ),
)
"""One of them is in every text that has one of the shapes: the detector is imported when it is needed."""

_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?P<kind>[A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?)-----(?=[\s\S]{0,200}?[A-Za-z0-9+/=]{32})"
    r"(?:[\s\S]{0,20000}?-----END (?P=kind)-----|[\sA-Za-z0-9+/=\\]*)"
)
"""The whole block, not only its first line, as the detector has it."""

_YOUNGER = (
    ("GitHub Token", r"github_pat_[A-Za-z0-9_]{60,255}"),
    ("Anthropic API Key", r"sk-ant-[A-Za-z0-9_\-]{40,200}"),
    ("OpenAI Token", r"sk-proj-[A-Za-z0-9_\-]{40,200}"),
)
"""Shapes that came up after the detector's last release."""

_NO_SECRET = re.compile(r"[{$<%*]|x{4}|\[redacted|^(?:pass(?:word|wd)?|pw|secret|token|user)$", re.IGNORECASE)
"""What stands in a URL where a password would: a placeholder."""

_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{24,}(?![A-Za-z0-9+/_-])")
_URL_ENCODED = re.compile(r"%3A%2F%2F[^%\s]+%3A((?:[^%\s]|%(?!40))+)%40", re.IGNORECASE)

_BASIC_AUTH = "Basic Auth Credentials"
_JWT = "JSON Web Token"
_REST_OF_JWT = re.compile(r"[A-Za-z0-9\-_.+/=]*")


class Shape(NamedTuple):
    """A secret in a text: what it is, and from where to where."""

    kind: str
    start: int
    end: int


def shapes_in(text: str) -> list[Shape]:
    """The secrets in a text in the order in which they stand there; they don't overlap."""
    found: list[Shape] = []
    for shape in sorted((*_encoded(text), *_found(text)), key=lambda shape: (shape.start, -shape.end)):
        if not found or shape.start >= found[-1].end:
            found.append(shape)
    return found


def _encoded(text: str) -> Iterator[Shape]:
    """The runs of base64 in which, decoded, a secret stands; the whole run is hidden then."""
    for match in _BASE64.finditer(text):
        run = match.group().replace("-", "+").replace("_", "/")
        whole = run[:-1] if len(run) % 4 == 1 else run
        decoded = b64decode(whole + "=" * (-len(whole) % 4)).decode("latin-1")
        shape = next(_found(decoded), None)
        if shape is not None:
            yield Shape(shape.kind, *match.span())


def _found(text: str) -> Iterator[Shape]:
    if not ("://" in text and "@" in text) and not any(hint in text for hint in _HINTS):
        return
    for match in _URL_ENCODED.finditer(text):
        yield Shape(_BASIC_AUTH, *match.span(1))
    for match in _PRIVATE_KEY.finditer(text):
        yield Shape("Private Key", *match.span())
    for kind, pattern, group in _patterns():
        for match in pattern.finditer(text):
            start, end = match.span(group)
            if kind == _JWT:
                end = _REST_OF_JWT.match(text, end).end()  # type: ignore[union-attr]  # it matches nothing, too
                if not _is_jwt(text[start:end]):
                    continue
            if kind == _BASIC_AUTH and _NO_SECRET.search(text[start:end]):
                continue
            yield Shape(kind, start, end)


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str], int], ...]:
    """What each pattern finds, the pattern, and which group of it is the secret."""
    from detect_secrets.plugins import (  # noqa: PLC0415 - a fifth of a second, and most texts have no need of it
        aws,
        basic_auth,
        github_token,
        gitlab_token,
        jwt,
        npm,
        openai,
        pypi_token,
        sendgrid,
        slack,
        stripe,
    )

    detectors = (
        aws.AWSKeyDetector,
        basic_auth.BasicAuthDetector,
        github_token.GitHubTokenDetector,
        gitlab_token.GitLabTokenDetector,
        jwt.JwtTokenDetector,
        npm.NpmDetector,
        openai.OpenAIDetector,
        pypi_token.PypiTokenDetector,
        sendgrid.SendGridDetector,
        slack.SlackDetector,
        stripe.StripeDetector,
    )
    part = {_BASIC_AUTH: 1, npm.NpmDetector.secret_type: 1}
    known = [
        (str(kind.secret_type), _bounded(pattern), part.get(kind.secret_type, 0))
        for kind in detectors
        for pattern in kind.denylist
    ]
    return (*known, *((kind, re.compile(pattern), 0) for kind, pattern in _YOUNGER))


def _bounded(pattern: re.Pattern[str]) -> re.Pattern[str]:
    """The pattern without what makes it take the square of a long line's length: what it looks for is short."""
    bounded = pattern.pattern.replace(r"\s]+", r"\s]{1,256}").replace(r"\/\/.+", r"\/\/.{1,256}")
    return pattern if bounded == pattern.pattern else re.compile(bounded, pattern.flags)


def _is_jwt(token: str) -> bool:
    from detect_secrets.plugins.jwt import JwtTokenDetector  # noqa: PLC0415 - as above

    return bool(JwtTokenDetector.is_formally_valid(token.rstrip(".")))
