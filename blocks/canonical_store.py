"""Where the canonical database is, as a Prefect block."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, model_validator

from prefect_acms.blocks.appearance import DOCUMENTATION, FILES_LOGO
from prefect_acms.blocks.secrets import learn_secrets

if TYPE_CHECKING:
    from prefect_acms.dao.store import Store


class CanonicalStore(Block):
    """The database that holds every run, patch and transition: a URL, or a folder with an SQLite file in it.

    Example:
        ```python
        from prefect_acms.blocks import CanonicalStore

        store = CanonicalStore.load("BLOCK_NAME").open()
        ```
    """

    _block_type_name: ClassVar[str | None] = "ACMS Canonical Store"
    _block_type_slug: ClassVar[str | None] = "acms-canonical-store"
    _logo_url: ClassVar[HttpUrl | None] = FILES_LOGO
    _documentation_url: ClassVar[HttpUrl | None] = DOCUMENTATION

    model_config = ConfigDict(hide_input_in_errors=True)

    url: SecretStr | None = Field(
        default=None, description="SQLAlchemy URL of the database; a secret, since it may hold a password."
    )
    home: Path | None = Field(
        default=None,
        description="Folder that holds canonical.db; without it and without a URL, $ACMS_DATABASE_URL or $ACMS_HOME.",
    )
    synchronous: Literal["FULL", "NORMAL"] = Field(
        default="FULL",
        description="How SQLite writes: FULL survives a power cut, NORMAL is faster and survives only a crash.",
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.url is not None and self.home is not None:
            message = "give a url or a home, not both"
            raise ValueError(message)
        learn_secrets(self)
        return self

    def database_url(self) -> str | None:
        """The URL that the fields name, or None where the environment decides; it may hold a password."""
        if self.url is not None:
            return self.url.get_secret_value()
        return f"sqlite:///{self.home.expanduser().resolve() / 'canonical.db'}" if self.home is not None else None

    def open(self) -> Store:
        """Open the store, migrated to the newest version; raises StoreUnavailable."""
        # The store brings SQLAlchemy along, and Prefect's server imports this module only to list the block.
        from prefect_acms.dao.store import open_store  # noqa: PLC0415

        return open_store(self.database_url(), synchronous=self.synchronous)
