"""How our blocks look in the Prefect UI's catalogue."""

from __future__ import annotations

from pydantic import HttpUrl

# Prefect takes only http(s) addresses of a square image. These are its own, pinned to a commit, so that they stay.
_LOGOS = (
    "https://raw.githubusercontent.com/PrefectHQ/prefect/420d0d6a78bb6df1fc18bcf188fdad43c1d22ea9/assets/block-logos/"
)

# A page is asked for too; ours are in the repository, and what a block is and where its values go is Prefect's to say.
DOCUMENTATION = HttpUrl("https://docs.prefect.io/v3/concepts/blocks")
FILES_LOGO = HttpUrl(f"{_LOGOS}filesystem.png")
MAIL_LOGO = HttpUrl(f"{_LOGOS}email.png")
PROCESS_LOGO = HttpUrl(f"{_LOGOS}process.png")
SECRET_LOGO = HttpUrl(f"{_LOGOS}secret.png")
WEBHOOK_LOGO = HttpUrl(f"{_LOGOS}webhook.png")
