"""Limits in force, and the bodies that set them."""

from typing import Literal

from pydantic import Field

from api.schemas.wire import RequestBody, Text, Wire
from orchestrator import clock
from orchestrator.limit_board import LimitInForce


class LimitObject(Wire):
    """One limit: null for none. `used` is null for what is not counted (sizes), `model` for what is not
    counted by model; `resets_at` is when nothing is used any more. `source` says whose value it is."""

    object: Literal["limit"] = "limit"
    name: str
    scope: str
    source: str
    model: str | None
    limit: int | None
    used: int | None
    remaining: int | None
    resets_at: int | None

    @classmethod
    def of(cls, found: LimitInForce) -> "LimitObject":
        """The limit as the caller sees it."""
        counted = found.limit is not None and found.used is not None
        return cls(
            name=found.name,
            scope=found.scope,
            source=found.source,
            model=found.model,
            limit=found.limit,
            used=found.used,
            remaining=max(0, (found.limit or 0) - (found.used or 0)) if counted else None,
            resets_at=clock.unix_or_none(found.resets_at),
        )


class LimitList(Wire):
    """Every limit of the caller's plan, with its present use."""

    object: Literal["list"] = "list"
    tier: str
    support: str
    support_contact: str | None
    data: list[LimitObject]


class SetContract(RequestBody):
    """Values in place of the tier's, by its names; null for no limit. What is left out is the tier's."""

    limits: dict[Text, int | None] = Field(max_length=64)


class SetProjectLimits(RequestBody):
    """Values that are lower than the organization's, by the same names. What is left out is as there."""

    limits: dict[Text, int] = Field(max_length=64)


class LimitsSet(Wire):
    """What is set now."""

    object: Literal["limits"] = "limits"
    id: str
    limits: dict[str, int | None]
