"""What the words and the numbers of an organization are held to."""

import re

from sqlalchemy import ColumnElement, func
from sqlmodel import Session, SQLModel, select

from orchestrator.errors import Conflict, Invalid

NAME_CHARACTERS_MAX = 128
EMAIL_CHARACTERS_MAX = 256
EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


def checked_name(name: str) -> str:
    """The name without spaces around it. Raises Invalid for an unusable one."""
    stripped = name.strip()
    if not 1 <= len(stripped) <= NAME_CHARACTERS_MAX or not stripped.isprintable():
        raise Invalid(
            f"A name has 1 to {NAME_CHARACTERS_MAX} printable characters; found {len(stripped)}"
            f"{'' if stripped.isprintable() else ', some of them not printable'}.",
            param="name",
        )
    return stripped


def checked_email(email: str) -> str:
    """The address in lower case, so that it is one person's however it is typed. Raises Invalid."""
    address = email.strip().lower()
    if len(address) > EMAIL_CHARACTERS_MAX or not EMAIL.fullmatch(address) or not address.isprintable():
        raise Invalid(
            f"An email address is like name@example.com and has at most {EMAIL_CHARACTERS_MAX} characters.",
            param="email",
        )
    return address


def require_room(tx: Session, table: type[SQLModel], theirs: ColumnElement[bool], count_max: int) -> None:
    """Raises Conflict where `count_max` rows are `theirs` already."""
    count = tx.exec(select(func.count()).select_from(table).where(theirs)).one()
    if count >= count_max:
        raise Conflict(f"An organization has at most {count_max:,} of these; it has {count:,}.")
