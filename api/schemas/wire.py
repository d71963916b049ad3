"""What requests, answers and lists have in common."""

from collections.abc import Sequence
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from orchestrator.files import service as files


def _without_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("text without NUL characters")
    return value


# Postgres keeps no NUL; every string that is stored goes through this type.
Text = Annotated[str, AfterValidator(_without_nul)]


class RequestBody(BaseModel):
    """A JSON body: types are not coerced and unknown parameters are refused, as at OpenAI."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Wire(BaseModel):
    """An answer."""

    model_config = ConfigDict(from_attributes=True)


class ExpiresAfter(RequestBody):
    """When something expires: so many seconds after it was created."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=files.EXPIRES_AFTER_SECONDS_MIN, le=files.EXPIRES_AFTER_SECONDS_MAX)]


def seconds_of(expires_after: ExpiresAfter | None) -> int | None:
    """The seconds of an expiry that may not have been given."""
    return None if expires_after is None else expires_after.seconds


class Identified(Wire):
    """An answer that a list can hold."""

    id: str


Item = TypeVar("Item", bound=Identified)


class Paging(Wire):
    """Groq's way of saying what comes next: pass it back as `?cursor=`."""

    next_cursor: str | None


class ListOf(Wire, Generic[Item]):
    """One page, in OpenAI's envelope and Groq's at once."""

    object: Literal["list"] = "list"
    data: list[Item]
    first_id: str | None
    last_id: str | None
    has_more: bool
    paging: Paging

    @classmethod
    def of(cls, items: Sequence[Item], *, has_more: bool) -> "ListOf[Item]":
        """The page of these items."""
        last_id = items[-1].id if items else None
        return cls(
            data=list(items),
            first_id=items[0].id if items else None,
            last_id=last_id,
            has_more=has_more,
            paging=Paging(next_cursor=last_id if has_more else None),
        )


class Deleted(Identified):
    """The answer to a DELETE."""

    object: str
    deleted: Literal[True] = True
