"""Tiers as data: what tiers.toml says, typed. Who is in which tier is not known here."""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from orchestrator.metering.prices import Prices

PRIORITY_MAX = 999  # after it come those who have no priority, as synchronous requests do
NO_PRICES: Mapping[str, Prices] = {}
SHIPPED = Path(__file__).with_name("tiers.toml")


class Tier(BaseModel):
    """One tier. None means no limit. tiers.toml explains what is not plain from a name.

    `batch_discount` is the share of the list price that is not charged, from 0.0 to 1.0.
    Rates are of synchronous requests, for each model by itself; `requests_at_once` are those under way in one
    organization, and `sandbox_discount` the share of the list price that they are not charged.
    `queued_tokens_max` bounds the prompt tokens of one organization's live batches, model by model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    title: str
    summary: str
    monthly_price: str
    models: Literal["*"] | Annotated[tuple[str, ...], Field(strict=False)]
    batch_discount: float = Field(ge=0, le=1)
    file_bytes_max: int = Field(gt=0)
    upload_bytes_max: int = Field(gt=0)
    upload_parts_parallel: int = Field(gt=0)
    batch_lines_max: int = Field(gt=0)
    line_bytes_max: int = Field(gt=0, lt=2**32)  # the line index keeps a length in 32 bits
    batch_lines_per_day: int | None = Field(default=None, gt=0)
    concurrent_batches: int | None = Field(default=None, gt=0)
    queued_tokens_max: int | None = Field(default=None, gt=0)
    completion_window_hours_min: int = Field(gt=0)
    completion_window_hours_max: int = Field(gt=0)
    requests_per_minute: int | None = Field(default=None, gt=0)
    requests_per_day: int | None = Field(default=None, gt=0)
    tokens_per_minute: int | None = Field(default=None, gt=0)
    tokens_per_day: int | None = Field(default=None, gt=0)
    requests_at_once: int | None = Field(default=None, gt=0)
    sandbox_discount: float = Field(ge=0, le=1)
    fine_tuning: bool
    fine_tuning_jobs: int | None = Field(default=None, gt=0)
    training_price_factor: float = Field(ge=0)
    weight: float = Field(gt=0)
    priority: int = Field(gt=0, le=PRIORITY_MAX)
    retention_days: int = Field(gt=0)
    support: str
    support_contact: str | None = None

    @model_validator(mode="after")
    def _windows_are_in_order(self) -> "Tier":
        if self.completion_window_hours_min > self.completion_window_hours_max:
            raise ValueError("completion_window_hours_min is above completion_window_hours_max")
        return self

    def permits(self, model: str) -> bool:
        """Whether batches of this tier may name `model`."""
        return self.models == "*" or model in self.models


class Tiers:
    """All tiers, cheapest first, as in the file. `prices` are the public ones by model, for whoever is told
    what another tier costs."""

    def __init__(self, tiers: tuple[Tier, ...], prices: Mapping[str, Prices] = NO_PRICES) -> None:
        self._by_name = {tier.name: tier for tier in tiers}
        self.prices = prices

    @staticmethod
    def load(path: Path | None = None) -> "Tiers":
        """Read `path`, or the tiers that ship with the yard.

        Raises ValueError naming the file and the key where something is missing, unknown or wrong.
        """
        path = path or SHIPPED
        try:
            tables = tomllib.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        tiers = tuple(_tier(path, name, table) for name, table in tables.items())
        if not tiers:
            raise ValueError(f"{path}: no tier in it; write at least one table, such as [free]")
        return Tiers(tiers)

    def priced(self, prices: Mapping[str, Prices]) -> "Tiers":
        """The same tiers, on a yard whose models cost so much."""
        return Tiers(tuple(self), prices)

    def __getitem__(self, name: str) -> Tier:
        """The tier of that name. Raises KeyError naming those there are."""
        if name not in self._by_name:
            raise KeyError(f"no tier {name!r}; there are: {', '.join(self._by_name)}")
        return self._by_name[name]

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Tier]:
        return iter(self._by_name.values())

    def cheapest_with(self, predicate: Callable[[Tier], bool]) -> Tier | None:
        """The first tier that satisfies `predicate`: the one to name when a limit is reached."""
        return next((tier for tier in self if predicate(tier)), None)

    def lifting(self, tier: Tier, predicate: Callable[[Tier], bool]) -> Tier | None:
        """The cheapest other tier that satisfies `predicate`. Not `tier`: where a contract has less than its
        own tier, that tier lifts nothing."""
        return self.cheapest_with(lambda other: other.name != tier.name and predicate(other))

    def priorities(self, tier: Tier) -> range:
        """The priorities that are the tier's own: half the way to its neighbours', so that whatever contracts
        add, a higher tier comes first."""
        others = sorted({other.priority for other in self} | {tier.priority})
        at = others.index(tier.priority)
        first = (others[at - 1] + tier.priority) // 2 + 1 if at else 1
        last = (tier.priority + others[at + 1]) // 2 if at + 1 < len(others) else PRIORITY_MAX
        return range(first, last + 1)


def _tier(path: Path, name: str, table: object) -> Tier:
    if not isinstance(table, dict):
        raise ValueError(f"{path}: {name}: a tier is a table; write [{name}] above its keys")
    try:
        return Tier.model_validate({**table, "name": name})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, (name, *first["loc"])))
        raise ValueError(f"{path}: {key}: {first['msg']}") from error
