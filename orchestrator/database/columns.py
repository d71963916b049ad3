"""Column types that the tables share."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, DateTime, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field


class Moment(TypeDecorator[datetime]):
    """A timezone-aware timestamp. A naive one is refused: elsewhere it means another moment."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Any) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"naive datetime {value!r}: use clock.now()")
        return value


class Choice(TypeDecorator[StrEnum]):
    """A StrEnum kept as text, so that a new member needs no migration of a database type."""

    impl = String
    cache_ok = True

    def __init__(self, enum: type[StrEnum]) -> None:
        super().__init__(32)
        self.enum = enum

    def process_bind_param(self, value: StrEnum | str | None, _dialect: Any) -> str | None:
        return None if value is None else str(self.enum(value))

    def process_result_value(self, value: str | None, _dialect: Any) -> StrEnum | None:
        return None if value is None else self.enum(value)


def moment(**kw: Any) -> Any:
    """A timestamp field; nullable unless told otherwise."""
    kw.setdefault("nullable", True)
    if kw["nullable"]:
        kw.setdefault("default", None)
    return Field(sa_type=Moment, **kw)


def choice(enum: type[StrEnum], **kw: Any) -> Any:
    """A field that holds one member of `enum`."""
    return Field(sa_type=Choice(enum), **kw)


def document(**kw: Any) -> Any:
    """A JSON document field. Assign a new value to change it: in-place edits are not seen."""
    return Field(sa_type=JSONB, **kw)


def big(**kw: Any) -> Any:
    """A 64-bit integer field: bytes, tokens, micro-dollars."""
    return Field(sa_type=BigInteger, **kw)
