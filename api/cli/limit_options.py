"""Limits as options of a command: `--limit concurrent_batches=100`."""

from collections.abc import Sequence
from typing import Annotated

import typer

Limit = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="A limit of `yard limits`, or none for no limit; repeat it."),
]


def values(options: Sequence[str]) -> dict[str, int | None]:
    """By name. Raises BadParameter for what is neither a number nor `none`."""
    found: dict[str, int | None] = {}
    for option in options:
        name, _, value = option.partition("=")
        if value != "none" and not value.isdecimal():
            raise typer.BadParameter(f"{option!r}: write NAME=NUMBER, or NAME=none for no limit.")
        found[name] = None if value == "none" else int(value)
    return found
