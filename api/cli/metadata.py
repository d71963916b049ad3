"""Pairs that a customer attaches to what it makes, as words on a command line."""

from collections.abc import Sequence
from typing import Annotated

import typer

Metadata = Annotated[
    list[str] | None, typer.Option("--metadata", metavar="KEY=VALUE", help="May be given 16 times.")
]


def metadata_pairs(words: Sequence[str]) -> dict[str, str]:
    """`["team=search"]` as `{"team": "search"}`. Raises BadParameter for a word without `=`."""
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise typer.BadParameter(f"--metadata expects KEY=VALUE, found {word!r}")
        pairs[key] = value
    return pairs
