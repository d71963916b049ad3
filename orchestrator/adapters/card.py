"""A model card: how an adapter was made, as a document for programs and as a page for people."""

import json
from collections.abc import Mapping
from typing import Any


def as_json(card: Mapping[str, Any]) -> bytes:
    """`card.json`."""
    return json.dumps(card, indent=2, ensure_ascii=False, default=str).encode()


def as_readme(card: Mapping[str, Any]) -> bytes:
    """`README.md`: the same as a table."""
    rows = "\n".join(f"| {key} | {value} |" for key, value in card.items())
    return f"# Adapter\n\n| | |\n|---|---|\n{rows}\n".encode()
