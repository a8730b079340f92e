"""E-mail as a channel: a Prefect notification block that speaks SMTP."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar
from urllib.parse import quote, urlencode

from prefect.blocks.notifications import AbstractAppriseNotificationBlock
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, StringConstraints

from prefect_acms.blocks.appearance import DOCUMENTATION, MAIL_LOGO
from prefect_acms.blocks.secrets import learn_secrets

Address = Annotated[str, StringConstraints(pattern=r"^[^\s@,;<>\"]+@[^\s@,;<>\"]+$")]


class MailSecurity(StrEnum):
    """How the way to the mail server is protected."""

    STARTTLS = "starttls"
    SSL = "ssl"
    INSECURE = "insecure"


class Email(AbstractAppriseNotificationBlock):
    """E-mail through an SMTP server, as plain text.

    Example:
        ```python
        from prefect_acms.blocks import Email

        mail = Email.load("BLOCK_NAME")
        config = PipelineConfig(repository=path, notifications={"channels": ["acms-email/BLOCK_NAME"]})
        ```
    """

    _block_type_name: ClassVar[str | None] = "ACMS E-mail"
    _block_type_slug: ClassVar[str | None] = "acms-email"
    _logo_url: ClassVar[HttpUrl | None] = MAIL_LOGO
    _documentation_url: ClassVar[HttpUrl | None] = DOCUMENTATION

    model_config = ConfigDict(hide_input_in_errors=True)

    server: str = Field(pattern=r"^[A-Za-z0-9.:-]+$", description="Host name or address of the SMTP server.")
    port: int = Field(default=587, ge=1, le=65535, description="Port of the server: 587 for starttls, 465 for ssl.")
    security: MailSecurity = Field(
        default=MailSecurity.STARTTLS, description="How the way to the server is protected: starttls, ssl or insecure."
    )
    username: str | None = Field(default=None, description="User name at the server; none: it asks for no password.")
    password: SecretStr | None = Field(default=None, description="Password at the server.")
    sender: Address = Field(description="Address that the mail comes from.")
    recipients: list[Address] = Field(min_length=1, description="Addresses that the mail goes to.")
    timeout_sec: float = Field(default=10, gt=0, description="Seconds that the server has to answer.")

    def block_initialization(self) -> None:
        """Make the client that sends."""
        learn_secrets(self)
        self._start_apprise_client(SecretStr(self._url()))

    def _url(self) -> str:
        """What apprise reads; without `format` it would send HTML, in which lines run together."""
        facts: dict[str, Any] = {
            "smtp": self.server,
            "from": self.sender,
            "to": ",".join(self.recipients),
            "mode": self.security.value,
            "format": "text",
            "cto": self.timeout_sec,
            "rto": self.timeout_sec,
        }
        if self.username:
            facts["user"] = self.username
        secret = self.password.get_secret_value() if self.password else ""
        who = f"{quote(self.username, safe='')}:{quote(secret, safe='')}@" if self.username else ""
        return f"mailto://{who}{self.server}:{self.port}/?{urlencode(facts, quote_via=quote)}"
