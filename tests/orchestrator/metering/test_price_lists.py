"""Prices in time, against a real Postgres."""

from sqlmodel import Session, select

from orchestrator.audit.model import AuditEntry
from orchestrator.database.session import Database
from orchestrator.metering import price_lists
from orchestrator.metering.model import PriceList
from orchestrator.metering.prices import Prices
from tests.factories import make_organization

SMALL, LARGE = Prices(50, 25, 80, training=500), Prices(1_000, 500, 2_000)
PUBLIC = {"small": SMALL, "large": LARGE}


def in_force(tx: Session, organization_id: str) -> dict[str, Prices]:
    return price_lists.current(tx, PUBLIC, organization_id=organization_id)


def test_a_public_list_is_kept_once_until_it_changes(database: Database) -> None:
    with database.transaction() as tx:
        assert price_lists.note_public(tx, PUBLIC) is not None
        assert price_lists.note_public(tx, dict(reversed(PUBLIC.items()))) is None
        assert price_lists.note_public(tx, {"small": SMALL}) is not None
        assert price_lists.note_public(tx, PUBLIC) is not None, "back to an earlier list is a change"
        assert len(tx.exec(select(PriceList)).all()) == 3


def test_what_was_noted_goes_before_what_a_process_has_read_itself(database: Database) -> None:
    with database.transaction() as tx:
        organization = make_organization(tx)
        assert in_force(tx, organization.id) == PUBLIC
        price_lists.note_public(tx, {"small": LARGE})
        assert in_force(tx, organization.id) == {
            "small": Prices(1_000, 500, 2_000, training=500),
            "large": LARGE,
        }


def test_an_organizations_own_prices_are_its_alone_and_can_be_taken_back(database: Database) -> None:
    own = Prices(1, 1, 2)
    with database.transaction() as tx:
        organization, other = make_organization(tx), make_organization(tx)
        price_lists.set_own(tx, {"small": own}, organization_id=organization.id, actor="key_1")
        price_lists.note_public(tx, PUBLIC)
        assert in_force(tx, organization.id) == {"small": Prices(1, 1, 2, training=500), "large": LARGE}
        assert in_force(tx, other.id) == PUBLIC
        price_lists.set_own(tx, {}, organization_id=organization.id, actor="key_1")
        assert in_force(tx, organization.id) == PUBLIC
        first, second = tx.exec(select(AuditEntry).order_by(AuditEntry.created_at)).all()
        assert (first.action, first.actor, first.before) == ("prices.updated", "key_1", {})
        assert first.after == second.before == {"small": {"input": 1, "cached_input": 1, "output": 2}}
