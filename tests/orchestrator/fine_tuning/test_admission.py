"""What a request for a fine-tuning job must be like, and what is said of one that is not."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.database.session import Database
from orchestrator.entitlements.tiers import SHIPPED, Tiers
from orchestrator.errors import Invalid, NotEntitled, QuotaExceeded
from orchestrator.files.model import Purpose
from orchestrator.fine_tuning.admission import SEED_MAX, NewFineTuning, method_of
from orchestrator.fine_tuning.model import Method
from orchestrator.metering import price_lists
from orchestrator.metering.prices import Prices
from tests.factories import make_principal
from tests.orchestrator.fine_tuning.jobs_at import an_enterprise, create, dataset


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"model": "frozen"}, "model", "cannot be fine-tuned here. Models that can be: yard-smoke."),
        ({"model": "gpt-9"}, "model", "does not exist. Models that can be: yard-smoke."),
        ({"model": "ft:yard-smoke:acme::1"}, "model", "training goes on from base models only"),
        ({"method": {"type": "reinforcement"}}, "method.type", "Reinforcement is not supported here."),
        ({"method": {"type": "magic"}}, "method.type", "'supervised', 'dpo'"),
        (
            {"hyperparameters": {"n_epochs": 51}},
            "method.supervised.hyperparameters.n_epochs",
            "1 to 50, or 'auto'",
        ),
        (
            {"method": {"type": "dpo", "dpo": {"lora": {"r": 64}}}},
            "method.dpo.lora.r",
            "32",
        ),
        (
            {"method": {"type": "dpo", "dpo": {"tokenyard": {"early_stopping_patience": 1}}}},
            "method.dpo.tokenyard.early_stopping_patience",
            "Add a 'validation_file'",
        ),
        ({"suffix": "a:b"}, "suffix", "letters, digits"),
        ({"suffix": "x" * 65}, "suffix", "1 to 64"),
        ({"suffix": ""}, "suffix", "1 to 64"),
        ({"seed": -1}, "seed", "from 0 to 2147483647"),
        ({"seed": SEED_MAX + 1}, "seed", "from 0 to 2147483647"),
        ({"metadata": {"k" * 65: "v"}}, f"metadata.{'k' * 64}", "up to 64 characters"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "integrations", "as CSV"),
        ({"training_file": "file-unknown"}, "training_file", "does not exist"),
        ({"validation_file": "file-unknown"}, "validation_file", "does not exist"),
    ],
)
def test_a_bad_parameter_is_named_with_what_would_do(
    database: Database, fields: dict[str, Any], param: str, words: str
) -> None:
    principal = an_enterprise(database)
    with pytest.raises(Invalid, match=re.escape(words)) as refusal, database.transaction() as tx:
        create(tx, principal, **fields)
    assert refusal.value.param == param


@pytest.mark.parametrize(
    ("columns", "words"), [({"purpose": Purpose.BATCH}, "has purpose 'batch'"), ({"bytes": 0}, "is empty")]
)
def test_a_file_that_is_no_dataset_is_refused(
    database: Database, columns: dict[str, Any], words: str
) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        file_id = dataset(tx, principal, **{"bytes": 120} | columns)
        with pytest.raises(Invalid, match=words):
            create(tx, principal, validation_file=file_id)


def test_another_organizations_file_is_an_unknown_file(database: Database) -> None:
    principal, other = an_enterprise(database), an_enterprise(database)
    told = []
    with database.transaction() as tx:
        for file_id in (dataset(tx, other), "file-unknown"):
            with pytest.raises(Invalid) as refusal:
                create(tx, principal, validation_file=file_id)
            told.append(refusal.value.message.replace(file_id, "…"))
    assert told[0] == told[1]


@pytest.mark.parametrize("tier", ["free", "developer"])
def test_a_tier_without_fine_tuning_is_told_which_has_it(database: Database, tier: str) -> None:
    with database.transaction() as tx:
        principal = make_principal(tx, tier=tier)
        with pytest.raises(NotEntitled, match=r"The Enterprise tier \(.*\) has it") as refusal:
            create(tx, principal)
    assert refusal.value.code == "not_available_for_plan"


def test_a_changed_tiers_file_alone_opens_training_at_its_own_price(
    database: Database, tmp_path: Path
) -> None:
    changed = tmp_path / "tiers.toml"
    head, developer = SHIPPED.read_text().split("[developer]")
    developer = developer.replace("fine_tuning = false", "fine_tuning = true\nfine_tuning_jobs = 1", 1)
    developer = developer.replace("training_price_factor = 1.0", "training_price_factor = 1.25", 1)
    changed.write_text(f"{head}[developer]{developer}")
    tiers = Tiers.load(changed)
    with database.transaction() as tx:
        principal = make_principal(tx, tier="developer")
        assert create(tx, principal, tiers=tiers).price_micros == 2_500_000
        with pytest.raises(QuotaExceeded, match=r"The Enterprise tier \(.*\) allows 4"):
            create(tx, principal, tiers=tiers)


def test_a_training_costs_what_the_organizations_own_list_says(database: Database) -> None:
    with database.transaction() as tx:
        principal = make_principal(tx, tier="enterprise")
        own = {"yard-smoke": Prices(1, 1, 1, training=700_000)}
        price_lists.set_own(tx, own, organization_id=principal.organization_id, actor="key_1")
        assert create(tx, principal).price_micros == 700_000
        assert create(tx, make_principal(tx, tier="enterprise")).price_micros == 2_000_000


def test_a_limit_of_the_last_tier_names_no_tier_without_fine_tuning(database: Database) -> None:
    with database.transaction() as tx:
        principal = make_principal(tx, tier="enterprise")
        for _ in range(4):
            create(tx, principal)
        with pytest.raises(QuotaExceeded, match="Limit 4, Used 4, Requested 1") as refusal:
            create(tx, principal)
    assert "Free" not in refusal.value.message


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ({}, (Method.SUPERVISED, {})),
        ({"hyperparameters": {"n_epochs": 2}}, (Method.SUPERVISED, {"hyperparameters": {"n_epochs": 2}})),
        ({"method": {"type": "dpo"}}, (Method.DPO, {})),
        (
            {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2}, "lora": {"r": 8}}}},
            (Method.DPO, {"hyperparameters": {"beta": 0.2}, "lora": {"r": 8}}),
        ),
        (
            {
                "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
                "hyperparameters": {"n_epochs": 2},
            },
            (Method.SUPERVISED, {"hyperparameters": {"n_epochs": 2}}),
        ),
    ],
)
def test_a_method_is_found_where_it_stands(asked: Mapping[str, Any], meant: object) -> None:
    assert method_of(NewFineTuning("m", "f", **asked)) == meant


def test_hyperparameters_that_contradict_each_other_are_refused() -> None:
    supervised = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}}
    with pytest.raises(Invalid, match="given twice"):
        method_of(NewFineTuning("m", "f", method=supervised, hyperparameters={"n_epochs": 3}))


def test_settings_of_another_method_are_refused() -> None:
    with pytest.raises(Invalid, match=re.escape("'method.dpo'")):
        method_of(NewFineTuning("m", "f", method={"type": "supervised", "dpo": {}}))
