"""A secret is found in every form in which somebody may write it, and nothing else is taken for one."""

from __future__ import annotations

import html
import json
import threading
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_acms.dao.redaction import HIDDEN, KNOWN, KnownSecrets, Scrubber, ending
from prefect_acms.dao.secret_shapes import shapes_in

SECRET = "hunter2/+ &é?~" + "x9Z" * 5
LINES = "-- first line of it --\nsecond-line-of-the-secret\nand so on, and so on\n"

# in two pieces, so that nobody who scans this file takes them for real
SHAPED = {
    "AWS Access Key": "AKIA" + "IOSFODNN7EXAMPL3",
    "GitHub Token": "ghp" + "_" + "a1B2" * 9,
    "GitLab Token": "glpat" + "-" + "a1B2c3D4e5F6g7H8i9J0",
    "Slack Token": "xoxb" + "-123456789012-abcdefghijkl",
    "Stripe Access Key": "sk" + "_live_" + "a1B2" * 6,
    "JSON Web Token": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxIn0" + ".c2lnbmF0dXJl",
    "Private Key": "-----BEGIN EC " + "PRIVATE KEY-----\n" + "MIIEpAIB" * 8 + "\n-----END EC PRIVATE KEY-----",
    "SendGrid API Key": "SG" + "." + "a" * 22 + "." + "b" * 43,
    "Anthropic API Key": "sk" + "-ant-api03-" + "a1B2" * 12,
}


@pytest.mark.parametrize(
    "form",
    [
        str, quote, quote_plus, lambda text: quote(text, safe=""), lambda text: quote(text).lower(),
        json.dumps, lambda text: json.dumps(text, ensure_ascii=False), repr, html.escape,
    ],
)  # fmt: skip
def test_every_form_is_hidden(form: Callable[[str], str]) -> None:
    """Plain, URL-encoded, and escaped as JSON, Python and HTML escape it."""
    secret = SECRET.lower() if form(SECRET) == form(SECRET).lower() else SECRET
    clean = KnownSecrets([secret]).redact(f"<{form(secret)}>")
    assert HIDDEN in clean
    assert "hunter2" not in clean


@given(before=st.binary(max_size=7), after=st.binary(max_size=7), secret=st.text(min_size=8, max_size=40))
def test_base64_is_hidden_whatever_stands_around_it(before: bytes, after: bytes, secret: str) -> None:
    """All three alignments, both alphabets: what is left holds no group of three bytes that is all the secret's."""
    content = secret.strip().encode("utf-8", "replace")
    if len(content.decode()) < 8:
        return
    known = KnownSecrets([content.decode()])
    for encode in (b64encode, urlsafe_b64encode):
        encoded = encode(before + content + after).decode()
        clean = known.redact(encoded)
        assert HIDDEN in clean
        kept = len(clean) - len(HIDDEN) * clean.count(HIDDEN)
        assert kept <= len(encode(before)) + len(encode(after)) + 4


def test_a_secret_of_several_lines_is_known_by_each_of_them() -> None:
    """A tool that prints one line of a key has printed a secret."""
    known = KnownSecrets([LINES])
    assert known.redact(f"a {LINES} b") == f"a {HIDDEN} b"
    assert known.redact("> second-line-of-the-secret <") == f"> {HIDDEN} <"


def test_a_secret_that_is_learned_later_is_hidden_from_then_on() -> None:
    """In a scrubber that was made before, and in every thread."""
    known = KnownSecrets()
    scrub = Scrubber(known.redact)
    assert scrub.text(SECRET) == SECRET
    learner = threading.Thread(target=known.learn, args=(SECRET,))
    learner.start()
    learner.join()
    assert scrub.text(f"it is {SECRET}") == f"it is {HIDDEN}"


@pytest.mark.parametrize(("kind", "secret"), SHAPED.items())
def test_what_has_the_shape_of_a_secret_is_hidden(kind: str, secret: str) -> None:
    """Though nobody has told that it is one; what stands around it stays."""
    text = f"line one\ntoken = '{secret}' # {secret}\nend"
    assert [(shape.kind, text[shape.start : shape.end]) for shape in shapes_in(text)] == [(kind, secret)] * 2
    assert KnownSecrets().redact(text) == f"line one\ntoken = '{HIDDEN}' # {HIDDEN}\nend"


def test_of_a_url_only_the_password_is_hidden() -> None:
    """Host and user are what one needs to know when it fails."""
    clean = KnownSecrets().redact("fatal: https://joe:s3cr3t-pw@host/x.git and postgres://db:hunter22@h/db")
    assert clean == f"fatal: https://joe:{HIDDEN}@host/x.git and postgres://db:{HIDDEN}@h/db"


@pytest.mark.parametrize(
    "text",
    [
        "https://{user}:{password}@host/", "https://user:$PASSWORD@host/", "https://user:password@host/",
        "mailto:joe@example.org", "eyJ is how a JWT begins", "-----BEGIN PRIVATE KEY----- is its first line",
        "3f786850e387550fdab836ed7e6dc881de23001b", "skipped: sk-1", "evt_01JDKZ5T9R5S2M3N4P5Q6R7S8T",
        "aws s3 cp --key-id x", "git+ssh://git@github.com/a/b", "assert 'AKIA' in text",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    """Placeholders, hashes, ids, and talk about secrets."""
    assert KnownSecrets().redact(text) == text


def test_bytes_come_back_as_they_were() -> None:
    """A diff without a secret is the same byte for byte, UTF-8 or not; one with a secret comes back changed."""
    scrub = Scrubber(KnownSecrets([SECRET]).redact)
    clean = b"\xff\xfe\0+caf\xe9\r\n"
    assert scrub.content(clean) is clean
    assert scrub.content(clean + SECRET.encode() + b"\xff") == clean + HIDDEN.encode() + b"\xff"


def test_what_is_found_is_what_is_hidden() -> None:
    """Whoever refuses a text because of a secret refuses exactly those that would be stored changed."""
    known = KnownSecrets([SECRET])
    shaped = SHAPED["GitHub Token"]
    found = known.found(f"{shaped} then {SECRET}")
    assert [shape.kind for shape in found] == ["GitHub Token", "known secret"]
    assert known.found("neither") == []


@pytest.mark.parametrize("secret", SHAPED.values())
@pytest.mark.parametrize("shift", range(3))
def test_what_has_the_shape_of_a_secret_is_hidden_in_base64_too(secret: str, shift: int) -> None:
    """Whatever stands around it, in both alphabets."""
    for encode in (b64encode, urlsafe_b64encode):
        for after in (b" and more", b""):
            encoded = encode(b"x" * shift + secret.encode() + after).decode()
            assert KnownSecrets().redact(f"Basic {encoded}").rstrip("=") == f"Basic {HIDDEN}"


def test_a_password_in_a_url_is_hidden_url_encoded_too() -> None:
    """As it stands in a query."""
    text = f"next={quote('https://joe:s3cr3t-pw@host/x', safe='')}&a=b"
    assert KnownSecrets().redact(text) == "next=https%3A%2F%2Fjoe%3A[redacted]%40host%2Fx&a=b"


def test_the_end_of_a_text_is_cut_after_its_secrets_are_out() -> None:
    """Half of a secret is one nobody knows again."""
    KNOWN.learn(SECRET)
    assert ending(f"{SECRET} end", 12) == "edacted] end"


@pytest.mark.parametrize("part", ["//", "http://a:", "://a:", "-----BEGIN PRIVATE KEY-----", "eyJ."])
def test_a_long_line_made_to_be_slow_is_read_in_time(part: str) -> None:
    """It takes the better part of a second; with patterns that have no bounds it took the square of its length."""
    text = part * (300_000 // len(part)) + "@://xox"
    started = time.monotonic()
    shapes_in(text)
    assert time.monotonic() - started < 20
