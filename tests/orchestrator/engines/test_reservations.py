"""Who may reserve what, so that no capacity is promised twice."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlmodel import Session

from orchestrator.database.session import Database
from orchestrator.engines import reservations
from orchestrator.engines.model import Reservation
from orchestrator.errors import Conflict, Invalid, NotFound
from orchestrator.models.registry import Registry
from tests.factories import make_organization

TEXT = "\n".join(
    f"""
[models."{name}"]
{where}
context_length = 2048
endpoints = ["/v1/chat/completions"]
gpus = {gpus}
input_price = 0.05
cached_input_price = 0.025
output_price = 0.08
"""
    for name, where, gpus in (
        ("small", 'source = "small"', 1),
        ("large", 'source = "large"', 2),
        ("elsewhere", 'url = "http://127.0.0.1:9"', 1),
    )
)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    path = tmp_path / "models.toml"
    path.write_text(TEXT)
    return Registry.load(path, home=tmp_path)


def reserve(
    tx: Session,
    registry: Registry,
    model: str,
    *,
    of: str | None = None,
    gpus: int = 4,
    engines: int = 0,
    share: float = 0.0,
) -> Reservation:
    spec = registry.get(model)
    assert spec is not None
    return reservations.reserve(
        tx,
        spec,
        organization_id=of or make_organization(tx).id,
        engines=engines,
        share=share,
        gpus=gpus,
        registry=registry,
        actor="key_1",
    )


def test_shares_of_a_model_come_to_all_of_it_at_most(database: Database, registry: Registry) -> None:
    with database.transaction() as tx:
        for _ in range(3):
            reserve(tx, registry, "small", share=1 / 3)
        with pytest.raises(Conflict, match=r"others have reserved 1, asked for 0.01, so at most 0 is left"):
            reserve(tx, registry, "small", share=0.01)


def test_reserved_engines_fit_the_gpus_of_the_yard(database: Database, registry: Registry) -> None:
    with database.transaction() as tx:
        reserve(tx, registry, "large", engines=1)
        reserve(tx, registry, "small", engines=2)
        with pytest.raises(Conflict, match=r"the yard has 4, other reservations take 4, .* 1 more"):
            reserve(tx, registry, "small", engines=1)


def test_a_share_takes_one_engine_of_the_gpus(database: Database, registry: Registry) -> None:
    with database.transaction() as tx:
        reserve(tx, registry, "large", share=0.1, gpus=2)
        reserve(tx, registry, "large", share=0.9, gpus=2)  # of the same engine
        with pytest.raises(Conflict, match="2 more"):
            reserve(tx, registry, "small", engines=2, gpus=3)


def test_a_model_is_reserved_by_engines_or_by_shares(database: Database, registry: Registry) -> None:
    with database.transaction() as tx:
        first = reserve(tx, registry, "small", engines=1)
        with pytest.raises(Conflict, match="engines are reserved already"):
            reserve(tx, registry, "small", share=0.5)
        changed = reserve(tx, registry, "small", of=first.organization_id, share=0.5)  # its own may change
        assert (changed.engines, changed.share) == (0, 0.5)


@pytest.mark.parametrize(("engines", "share"), [(0, 0.0), (1, 0.5), (-1, 0.0), (0, 1.01)])
def test_a_reservation_is_of_engines_or_of_a_share(
    database: Database, registry: Registry, engines: int, share: float
) -> None:
    with database.transaction() as tx, pytest.raises(Invalid, match="either a number of engines"):
        reserve(tx, registry, "small", engines=engines, share=share)


def test_of_somebody_elses_engines_only_shares_are_reserved(database: Database, registry: Registry) -> None:
    with database.transaction() as tx:
        with pytest.raises(Invalid, match="reserve a share"):
            reserve(tx, registry, "elsewhere", engines=1)
        reserve(tx, registry, "elsewhere", share=1.0, gpus=0)


def test_two_operators_at_once_cannot_promise_the_same(database: Database, registry: Registry) -> None:
    with database.transaction() as tx:
        organizations = [make_organization(tx).id for _ in range(6)]

    def ask(of: str) -> bool:
        try:
            with database.transaction() as tx:
                reserve(tx, registry, "small", of=of, share=0.3)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(6) as threads:
        assert sum(threads.map(ask, organizations)) == 3


def test_what_is_given_back_is_gone(database: Database, registry: Registry) -> None:
    with database.transaction() as tx:
        row = reserve(tx, registry, "small", share=1.0)
        reservations.end(tx, organization_id=row.organization_id, model="small", actor="key_1")
        assert reservations.everyone(tx) == []
        with pytest.raises(NotFound):
            reservations.end(tx, organization_id=row.organization_id, model="small", actor="key_1")
