"""Adapters as models of a file's lines: who may name them, what they are sized, limited and priced by."""

import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlmodel import Session

from orchestrator import clock
from orchestrator.adapters.model import Adapter
from orchestrator.batches.admission import Rules, check_limits
from orchestrator.batches.estimate import estimate
from orchestrator.batches.model import Batch
from orchestrator.batches.named_models import admitted, named_in
from orchestrator.batches.preparation import Preparation, prepare
from orchestrator.batches.preparation_spec import preparation_spec
from orchestrator.batches.sizing import ModelSums
from orchestrator.batches.states import BatchStatus
from orchestrator.database.session import Database
from orchestrator.entitlements.tiers import Tiers
from orchestrator.errors import NotEntitled, QuotaExceeded
from orchestrator.files.model import File
from orchestrator.metering.model import Usage, UsageKind
from orchestrator.metering.prices import Rate
from orchestrator.models.registry import LoraSpec, ModelSpec, Registry
from orchestrator.organizations.model import Project
from tests.factories import make_adapter, make_batch, make_file, make_project

CHAT = "/v1/chat/completions"
TIERS = Tiers.load(None)


def spec(model: str) -> ModelSpec:
    return ModelSpec(
        id=model,
        source="nowhere",
        context_length=1000,
        endpoints=(CHAT,),
        input_price=Decimal(1),
        cached_input_price=Decimal(1),
        output_price=Decimal(2),
        lora=LoraSpec(training_price=Decimal(1)),
    )


REGISTRY = Registry((spec("yard-smoke"), spec("large")))


def file_of(tx: Session, project: Project, models: dict[str, int], *, size: int = 400) -> File:
    """A file whose lines name these models, so many of each."""
    lines = sum(models.values())
    summary = {"lines": lines, "bad_lines": 0, "first_problems": [], "models": models, "endpoints": {}}
    return make_file(tx, project=project, bytes=size, summary=summary)


def prepared(tx: Session, folder: Path, file: File, *models: str, tier: str = "free") -> Preparation:
    """The preparation of a file of one line for each of these models."""
    source = folder / "input.jsonl"
    source.write_text("".join(f"{line(number, model)}\n" for number, model in enumerate(models)))
    named = named_in(tx, REGISTRY, file)
    return prepare(
        preparation_spec(
            source=source,
            folder=folder,
            registry=REGISTRY,
            organization_id=file.organization_id,
            named=named,
            tiers=TIERS,
            tier=TIERS[tier],
        )
    )


def line(number: int, model: str) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 7}
    return json.dumps({"custom_id": f"{number}", "method": "POST", "url": CHAT, "body": body})


def test_an_adapter_is_sized_as_its_base_and_counted_under_its_name(
    database: Database, tmp_path: Path
) -> None:
    with database.transaction() as tx:
        adapter = make_adapter(tx, project=make_project(tx))
        project = tx.get_one(Project, adapter.project_id)
        file = file_of(tx, project, {"yard-smoke": 1, adapter.id: 1})
        found = prepared(tx, tmp_path, file, "yard-smoke", adapter.id, tier="enterprise")
        assert found.bad_lines == 0
        assert found.models.keys() == {"yard-smoke", adapter.id}
        assert found.models["yard-smoke"].max_output_tokens == found.models[adapter.id].max_output_tokens == 7


def test_another_organizations_adapter_and_a_deleted_one_are_models_that_never_were(
    database: Database, tmp_path: Path
) -> None:
    with database.transaction() as tx:
        project = make_project(tx)
        strangers = make_adapter(tx)
        deleted = make_adapter(tx, project=project, deleted_at=clock.now())
        unknown = "ft:yard-smoke:acme::never000"
        names = [strangers.id, deleted.id, unknown]
        file = file_of(tx, project, dict.fromkeys(names, 1))
        problems = prepared(tx, tmp_path, file, *names).first_problems
        assert [problem.code for problem in problems] == ["model_not_found"] * 3
        told = {problem.message.replace(name, "X") for problem, name in zip(problems, names, strict=True)}
        assert told == {"The provided model 'X' is not supported by the Batch API. Use 'yard-smoke'."}


def test_an_adapter_that_the_operator_shares_is_everybodys(database: Database) -> None:
    with database.transaction() as tx:
        shared = make_adapter(tx, shared=True)
        file = file_of(tx, make_project(tx), {shared.id: 1})
        assert named_in(tx, REGISTRY, file)[shared.id].base == "yard-smoke"


def test_a_tier_without_fine_tuning_uses_no_adapter_of_its_own_and_says_why(
    database: Database, tmp_path: Path
) -> None:
    with database.transaction() as tx:
        adapter = make_adapter(tx, project=make_project(tx))
        file = file_of(tx, tx.get_one(Project, adapter.project_id), {adapter.id: 1})
        (problem,) = prepared(tx, tmp_path, file, adapter.id).first_problems
        assert problem.code == "model_not_permitted"
        assert "(fine_tuning: false); it stays listed" in problem.message
        assert "The Enterprise tier (By contract) has it" in problem.message
        with pytest.raises(NotEntitled):
            check_limits(tx, file, lines=1, rules=Rules(TIERS, TIERS["free"], REGISTRY, priority=30))
        check_limits(tx, file, lines=1, rules=Rules(TIERS, TIERS["enterprise"], REGISTRY, priority=30))


def test_a_shared_adapter_needs_no_more_than_its_base(database: Database, tmp_path: Path) -> None:
    with database.transaction() as tx:
        shared = make_adapter(tx, shared=True)
        large = make_adapter(tx, shared=True, id="ft:large:yard::12345678", base_model="large")
        file = file_of(tx, make_project(tx), {shared.id: 1, large.id: 1})
        (problem,) = prepared(tx, tmp_path, file, shared.id, large.id).first_problems
        assert (problem.line, problem.code) == (2, "model_not_permitted")
        assert "The Developer tier (" in problem.message


def test_a_batch_that_was_validated_goes_on_with_a_deleted_adapter(database: Database) -> None:
    with database.transaction() as tx:
        deleted = make_adapter(tx, deleted_at=clock.now())
        file = file_of(tx, tx.get_one(Project, deleted.project_id), {deleted.id: 1})
        assert named_in(tx, REGISTRY, file) == {}
        known = admitted(tx, REGISTRY, [deleted.id], organization_id=deleted.organization_id)
        assert known[deleted.id].base == "yard-smoke"


def test_tokens_enqueued_for_adapters_count_towards_the_limit_of_their_base(database: Database) -> None:
    with database.transaction() as tx:
        project = make_project(tx)
        first, second = make_adapter(tx, project=project), make_adapter(tx, project=project)
        most = 1_000_000
        tier = TIERS["enterprise"].model_copy(update={"queued_tokens_max": most})
        rules = Rules(TIERS, tier, REGISTRY, priority=20)
        size = 4 * (most * 2 // 3)
        waiting = file_of(tx, project, {first.id: 1}, size=size)
        check_limits(tx, waiting, lines=1, rules=rules)
        make_batch(tx, file=waiting)
        with pytest.raises(QuotaExceeded, match="enqueued tokens for yard-smoke"):
            check_limits(tx, file_of(tx, project, {second.id: 1}, size=size), lines=1, rules=rules)


def test_an_adapter_is_quoted_by_its_bases_history_until_it_has_its_own(database: Database) -> None:
    with database.transaction() as tx:
        adapter = make_adapter(tx)
        charge(tx, adapter, "yard-smoke", output_tokens=500)
        sums = {adapter.id: ModelSums(lines=10, prompt_tokens=100, max_output_tokens=1000)}
        named = admitted(tx, REGISTRY, sums, organization_id=adapter.organization_id)
        rates = {adapter.id: Rate(spec("yard-smoke").prices(), discount=0.5)}
        quoted = estimate(
            tx,
            sums,
            named=named,
            rates=rates,
            tiers=TIERS,
            tier=TIERS["developer"],
            organization_id="org_1",
        )
        assert quoted["expected_output_tokens"] == 50
        assert quoted["worst_cost_micros"] > 0
        charge(tx, adapter, adapter.id, output_tokens=900)
        quoted = estimate(
            tx,
            sums,
            named=named,
            rates=rates,
            tiers=TIERS,
            tier=TIERS["developer"],
            organization_id="org_1",
        )
        assert quoted["expected_output_tokens"] == 90


def charge(tx: Session, adapter: Adapter, model: str, *, output_tokens: int) -> None:
    """What a batch of a hundred lines has used of a model."""
    file = file_of(tx, tx.get_one(Project, adapter.project_id), {model: 100})
    batch: Batch = make_batch(
        tx, file=file, status=BatchStatus.CANCELLED, created_at=clock.now() - timedelta(days=1)
    )
    tx.add(
        Usage(
            id=f"usage_{batch.id}",
            idempotency_key=batch.id,
            kind=UsageKind.BATCH,
            organization_id=batch.organization_id,
            project_id=batch.project_id,
            resource_id=batch.id,
            model=model,
            lines=100,
            input_tokens=1000,
            cached_tokens=0,
            output_tokens=output_tokens,
            cost_micros=0,
            at=clock.now(),
        )
    )
    tx.flush()
