"""Reserved capacity, as the operator and whoever has it see it."""

from typing import Literal

from pydantic import Field

from api.schemas.wire import RequestBody, Text, Wire
from orchestrator import clock
from orchestrator.engines.model import Reservation


class SetReservation(RequestBody):
    """Either a number of engines or a share (above 0, at most 1) of the places of all of the model's engines,
    in place of what the organization had of this model."""

    model: Text = Field(min_length=1, max_length=256)
    engines: int = Field(default=0, ge=0, le=1_000_000)
    share: float = Field(default=0.0, ge=0, le=1)


class ReservationObject(Wire):
    """What an organization's batches get of a model whenever they have work: so many engines, or such a share
    of the places of all (0: not reserved by shares)."""

    object: Literal["reservation"] = "reservation"
    organization_id: str
    model: str
    engines: int
    share: float
    created_at: int

    @classmethod
    def of(cls, row: Reservation) -> "ReservationObject":
        """The reservation as it is in force."""
        return cls(
            organization_id=row.organization_id,
            model=row.model,
            engines=row.engines,
            share=row.share,
            created_at=clock.unix(row.created_at),
        )


class ReservationList(Wire):
    """Everything that is reserved, oldest first."""

    object: Literal["list"] = "list"
    data: list[ReservationObject]
