"""A fine-tuning job under a spend limit: its whole price is held, or it never trains."""

import pytest
from sqlmodel import Session

from orchestrator.database.session import Database
from orchestrator.errors import Invalid
from orchestrator.fine_tuning import finalize, holding, progress, service
from orchestrator.fine_tuning.model import FineTuningJob
from orchestrator.fine_tuning.states import FineTuningStatus as S
from orchestrator.jobs import service as jobs
from orchestrator.jobs.model import JobKind
from orchestrator.organizations.principal import Principal
from orchestrator.spending import caps
from orchestrator.spending.standing import Spending, spending
from tests.orchestrator.fine_tuning.jobs_at import (
    PRICE_MICROS,
    a_result,
    an_enterprise,
    create,
    queued,
    running,
    stored,
)


def cap(tx: Session, principal: Principal, micros: int) -> None:
    organization_id = principal.organization_id
    caps.set_cap(
        tx,
        organization_id=organization_id,
        cap_micros=micros,
        running=holding.running(tx, organization_id),
        actor="key_1",
    )


def now(tx: Session, principal: Principal) -> Spending:
    tx.flush()
    return spending(tx, principal.organization_id)


def test_a_training_holds_its_whole_price_until_it_is_charged(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        cap(tx, principal, PRICE_MICROS)
        lease = running(tx, principal)
        assert now(tx, principal).granted == PRICE_MICROS
        progress.adopt_checkpoint(tx, lease, stored(10))
        finalize.succeed(tx, lease, card={}, metrics=a_result())
        assert (now(tx, principal).granted, now(tx, principal).charged) == (0, 20_000)


def test_a_job_whose_price_is_not_open_fails_before_it_trains_with_the_figures(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        cap(tx, principal, PRICE_MICROS - 1)
        job = tx.get_one(FineTuningJob, queued(tx, principal))
        assert job.status is S.FAILED
        assert job.error is not None
        assert job.error["code"] == "spend_limit_reached"
        assert "This job costs $0.06, which a spend limit does not have." in job.error["message"]
        assert "$0.059999 a month: $0.00 spent" in job.error["message"]
        assert jobs.claim(tx, limit=9, kinds=[JobKind.FINE_TUNE]) == []
        assert now(tx, principal).granted == 0
        caps.require_open(
            tx, organization_id=principal.organization_id, project_id=principal.project_id
        )  # a smaller job is welcome


def test_a_cancelled_job_gives_back_what_it_held(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        cap(tx, principal, PRICE_MICROS)
        service.cancel(tx, principal, queued(tx, principal))
        assert now(tx, principal).granted == 0


def test_a_training_that_was_begun_before_a_cap_keeps_its_price(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        queued(tx, principal)
        assert now(tx, principal).granted == 0
        cap(tx, principal, 1)
        assert now(tx, principal).granted == PRICE_MICROS


def test_no_job_is_created_at_a_reached_limit(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        cap(tx, principal, 0)
        with pytest.raises(Invalid) as refused:
            create(tx, principal)
        assert refused.value.code == "blocked_api_access"
