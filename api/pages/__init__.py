"""What a person would rather read or print than call. Pages load nothing: no script, no font, no image."""

from pathlib import Path
from typing import Annotated, Literal

from fastapi import Depends, Header, Query
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

# Names are customers' own: whatever they hold, the page runs and fetches nothing.
HEADERS = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'", "vary": "accept"}

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


async def wanted(
    format: Annotated[Literal["json", "html"] | None, Query(description="Default: by `Accept`.")] = None,
    accept: Annotated[str, Header()] = "",
) -> bool:
    """Whether a request asks for the page: by `format=html`, else by what a browser accepts."""
    return format == "html" or (format is None and "text/html" in accept)


AsPage = Annotated[bool, Depends(wanted)]


def page(template: str, **shown: object) -> HTMLResponse:
    """The page of that file in this folder."""
    return HTMLResponse(_environment.get_template(template).render(**shown), headers=HEADERS)


def percent(share: float) -> str:
    """A share as prices know it, to a millionth: "50%"."""
    return f"{share:.6%}".replace(".000000%", "%")
