"""What a flow run shows on its page in Prefect. A picture and no more: where Prefect is slow or
away, the work goes on without it. Call these inside a flow or a task.
"""

import asyncio
import re
from collections.abc import Awaitable
from typing import TypeVar
from uuid import UUID

from prefect.artifacts import (
    acreate_link_artifact,
    acreate_markdown_artifact,
    acreate_progress_artifact,
    aupdate_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate

from flows.runs import PREFECT_AWAY

T = TypeVar("T")

WAIT_SECONDS_MAX = 2.0


async def show_progress(artifact: UUID | None, percent: float, description: str, *, key: str) -> UUID | None:
    """Show how far the run is, 0 to 100. Hand in what the last call returned, None at first.

    An update costs Prefect's server some 25 ms: once a second, not once a line.
    """
    if artifact is None:
        return await _briefly(
            acreate_progress_artifact(percent, key=artifact_key(key), description=description)
        )
    await _briefly(aupdate_progress_artifact(artifact, percent, description=description))
    return artifact


async def show_markdown(markdown: str, *, key: str, description: str | None = None) -> None:
    """Show a page of Markdown."""
    await _briefly(
        acreate_markdown_artifact(key=artifact_key(key), markdown=markdown, description=description)
    )


async def show_page(artifact: UUID | None, markdown: str, *, key: str) -> UUID | None:
    """Show a page of Markdown that will change. Hand in what the last call returned, None at first."""
    if artifact is None:
        return await _briefly(acreate_markdown_artifact(key=artifact_key(key), markdown=markdown))
    await _briefly(_replace(artifact, markdown))
    return artifact


async def _replace(artifact: UUID, markdown: str) -> None:
    async with get_client() as client:
        await client.update_artifact(artifact, ArtifactUpdate(data=markdown))


async def show_link(url: str, text: str, *, key: str, description: str | None = None) -> None:
    """Show a link."""
    await _briefly(acreate_link_artifact(url, link_text=text, key=artifact_key(key), description=description))


def artifact_key(text: str) -> str:
    """The text in the letters that Prefect allows: lowercase, digits, dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


async def _briefly(call: Awaitable[T]) -> T | None:
    try:
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            return await call
    except (TimeoutError, *PREFECT_AWAY):
        return None
