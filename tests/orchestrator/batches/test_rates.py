"""What a batch is charged by, whatever the price lists say meanwhile."""

from decimal import Decimal

from orchestrator.adapters.catalog import resolve
from orchestrator.batches.rates import cost_micros, keep_rates, quoted_rates, rates_now
from orchestrator.database.session import Database
from orchestrator.metering import price_lists
from orchestrator.metering.prices import Prices, Rate
from orchestrator.models.registry import LoraSpec, ModelSpec, Registry
from orchestrator.organizations.model import Project
from tests.factories import make_adapter, make_batch, make_file

SPEC = ModelSpec(
    id="yard-smoke",
    source="nowhere",
    context_length=1000,
    endpoints=("/v1/chat/completions",),
    input_price=Decimal("0.05"),
    cached_input_price=Decimal("0.025"),
    output_price=Decimal("0.08"),
    lora=LoraSpec(training_price=Decimal(1)),
)
REGISTRY = Registry((SPEC,))
USED = {"lines": 1, "input_tokens": 1_000, "cached_tokens": 0, "output_tokens": 0}


def test_a_batch_keeps_the_rates_that_it_was_quoted(database: Database) -> None:
    with database.transaction() as tx:
        adapter = make_adapter(tx)
        project = tx.get_one(Project, adapter.project_id)
        batch = make_batch(tx, file=make_file(tx, project=project), usage={adapter.id: USED})
        named = resolve(tx, REGISTRY, ["yard-smoke", adapter.id], organization_id=adapter.organization_id)
        asked = {"organization_id": adapter.organization_id, "discount": 0.5}
        quoted = rates_now(tx, REGISTRY, named, **asked)
        assert quoted[adapter.id] == quoted["yard-smoke"] == Rate(SPEC.prices(), 0.5)
        keep_rates(batch, quoted)
        dearer = {"yard-smoke": Prices(1_000_000, 1_000_000, 1_000_000)}
        price_lists.set_own(tx, dearer, organization_id=adapter.organization_id, actor="key_1")
        now = rates_now(tx, REGISTRY, named, **asked)
        assert now[adapter.id].prices.input == 1_000_000
        keep_rates(batch, now)
    with database.read() as tx:
        kept = tx.get_one(type(batch), batch.id)
        assert quoted_rates(kept)[adapter.id].cost_micros(USED) == cost_micros(kept) == 25
