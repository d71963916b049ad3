"""What customers may attach to their objects as `metadata`: OpenAI's bounds."""

from collections.abc import Mapping

from orchestrator.errors import Invalid

PAIRS_MAX = 16
KEY_CHARACTERS_MAX = 64
VALUE_CHARACTERS_MAX = 512


def check(metadata: Mapping[str, str]) -> None:
    """Raise Invalid where there are too many pairs, or one is too long."""
    if len(metadata) > PAIRS_MAX:
        raise Invalid(
            f"Invalid 'metadata': expected at most {PAIRS_MAX} pairs, found {len(metadata)}.",
            param="metadata",
        )
    for key, value in metadata.items():
        _check_length("key", key, KEY_CHARACTERS_MAX, of=key)
        _check_length("value", value, VALUE_CHARACTERS_MAX, of=key)


def _check_length(what: str, text: str, most: int, *, of: str) -> None:
    if len(text) > most:
        raise Invalid(
            f"Invalid 'metadata': a {what} may have up to {most} characters, found {len(text)}.",
            param=f"metadata.{of[:KEY_CHARACTERS_MAX]}",
        )
