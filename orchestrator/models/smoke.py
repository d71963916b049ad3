"""Where the smoke model is, by a hash of its recipe: a changed recipe is another folder.

The recipe itself needs torch and runs in the gpu environment; its name is needed everywhere.
"""

from hashlib import sha256
from pathlib import Path

SOURCE = "smoke"  # what models.toml calls it
RECIPE = Path(__file__).parents[2] / "workers" / "training"
_HASH_DIGITS = 12


def fingerprint() -> str:
    """Twelve hexadecimal digits that change whenever a source of the recipe does."""
    digest = sha256()
    for source in sorted(RECIPE.glob("smoke_*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:_HASH_DIGITS]


def folder(home: Path) -> Path:
    """Where a yard with this home keeps the smoke model, made or not."""
    return home / "models" / f"yard-smoke-{fingerprint()}"
