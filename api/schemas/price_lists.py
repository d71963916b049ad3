"""An organization's own price list, as the operator sets it."""

from typing import Annotated, Literal

from pydantic import Field

from api.schemas.wire import RequestBody, Text, Wire
from orchestrator.metering.prices import CURRENCY

Micros = Annotated[int, Field(ge=0, le=10**12, description="Millionths of a dollar for a million tokens.")]


class ListedPrices(RequestBody):
    """One base model's prices before a tier's discount. Without `training` that is as in the public list."""

    input: Micros
    cached_input: Micros
    output: Micros
    training: Micros | None = None


class SetPriceList(RequestBody):
    """The body of `POST /organizations/{id}/prices`. Models left out have the public prices."""

    prices: dict[Text, ListedPrices] = Field(max_length=1_000)


class PriceListObject(Wire):
    """`own` is what was set for this organization, since `effective_at`; `in_force` what it pays for each
    model."""

    object: Literal["price_list"] = "price_list"
    id: str | None
    organization_id: str
    own: dict[str, dict[str, int]]
    in_force: dict[str, dict[str, int | None]]
    effective_at: int | None
    currency: str = CURRENCY
