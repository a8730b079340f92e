"""A tool profile as a Prefect block."""

from __future__ import annotations

from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import HttpUrl

from prefect_acms.blocks.appearance import DOCUMENTATION, PROCESS_LOGO
from prefect_acms.blocks.tool_spec import ToolSpec


class ToolProfile(ToolSpec, Block):
    """A tool that acms may run on a repository: an argument list, its limits and what it can do.

    Example:
        ```python
        from prefect_acms.blocks import ToolProfile

        profile = ToolProfile.load("BLOCK_NAME")
        ```
    """

    _block_type_name: ClassVar[str | None] = "ACMS Tool Profile"
    _block_type_slug: ClassVar[str | None] = "acms-tool-profile"
    _logo_url: ClassVar[HttpUrl | None] = PROCESS_LOGO
    _documentation_url: ClassVar[HttpUrl | None] = DOCUMENTATION
