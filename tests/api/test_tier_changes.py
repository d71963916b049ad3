"""What a move to another tier changes, and what it leaves alone; and what a tier says of its own bounds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from api.app import create_app
from orchestrator import clock
from orchestrator.database.session import Database
from orchestrator.engines.model import Engine, EngineStatus
from orchestrator.entitlements.tiers import Tiers
from orchestrator.limits import at_once
from orchestrator.limits import service as limits
from orchestrator.organizations.model import Project
from orchestrator.settings import Settings
from tests.api.conftest import Customer, make_customer
from tests.api.lines import jsonl
from tests.api.test_limits import FREE, in_force, set_contract
from tests.api.yard_files import TIERS
from tests.factories import make_adapter, make_engine

CHAT = "/v1/chat/completions"
RATES = ("requests_per_minute", "requests_per_day", "tokens_per_minute", "tokens_per_day")
HELLO = {"model": "yard-smoke", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}


def move(operator: Customer, customer: Customer, tier: str) -> None:
    moved = operator.post(f"/v1/organizations/{customer.organization_id}", json={"tier": tier})
    assert moved.json()["tier"] == tier, moved.text


def message(answer: Response) -> str:
    said: str = answer.json()["error"]["message"]
    return said


def test_a_downgrade_ends_nothing_and_hides_nothing(operator: Customer, customer: Customer) -> None:
    file_id = customer.file_id(jsonl(9, model="org/large"))
    batches = [customer.batch_id(file_id, completion_window="48h") for _ in range(2)]
    before = [customer.get(f"/v1/batches/{batch}").json() for batch in batches]
    move(operator, customer, "free")
    assert [customer.get(f"/v1/batches/{batch}").json() for batch in batches] == before
    assert customer.get(f"/v1/files/{file_id}/content").content == jsonl(9, model="org/large")
    assert {found["id"] for found in customer.get("/v1/batches").json()["data"]} == set(batches)
    over = in_force(customer, "concurrent_batches")
    assert (over["limit"], over["used"], over["remaining"]) == (1, 2, 0)
    refused = customer.create_batch(customer.file_id(jsonl(1)))
    assert refused.status_code == 429
    assert "(concurrent_batches) of the Free tier: Limit 1, Used 2, Requested 1" in message(refused)
    assert customer.post(f"/v1/batches/{batches[0]}/cancel").status_code == 200


def test_an_upgrade_holds_from_the_next_request_on(operator: Customer, free_customer: Customer) -> None:
    file_id = free_customer.file_id(jsonl(2))
    free_customer.batch_id(file_id)
    assert free_customer.create_batch(file_id).status_code == 429
    assert free_customer.create_batch(file_id, completion_window="48h").status_code == 400
    move(operator, free_customer, "developer")
    assert free_customer.create_batch(file_id, completion_window="48h").status_code == 200


def test_without_fine_tuning_jobs_go_on_and_own_adapters_stay_and_say_why_they_rest(
    operator: Customer, trainer: Customer, database: Database
) -> None:
    job_id = trainer.fine_tuning_id()
    with database.transaction() as tx:
        project = tx.get_one(Project, trainer.project_id)
        adapter = make_adapter(tx, project=project, base_model="yard-smoke").id
    named = trainer.file_id(jsonl(2, model=adapter))
    batch_id = trainer.batch_id(named)
    move(operator, trainer, "developer")
    assert trainer.get(f"/v1/fine_tuning/jobs/{job_id}").json()["status"] == "validating_files"
    assert trainer.get(f"/v1/batches/{batch_id}").json()["status"] == "validating"
    assert adapter in {model["id"] for model in trainer.get("/v1/models").json()["data"]}
    again = trainer.create_batch(named)
    asked = trainer.post(CHAT, json=HELLO | {"model": adapter})
    for refused in (again, asked):
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_permitted")
        assert "cannot be used on the Developer tier (fine_tuning: false); it stays listed" in message(
            refused
        )
        assert "The Enterprise tier (By contract; yard-smoke at $" in message(refused)
    assert "The Enterprise tier" in message(trainer.create_fine_tuning())
    assert trainer.post(f"/v1/fine_tuning/jobs/{job_id}/cancel").status_code == 200
    move(operator, trainer, "enterprise")
    assert trainer.create_batch(named).status_code == 200


@pytest.fixture
def opened(settings: Settings, tmp_path: Path) -> Iterator[TestClient]:
    """The same yard, with another tiers.toml: developers may train, at a factor of their own."""
    free, developer, enterprise = TIERS.split("\n\n")
    shut = "fine_tuning = false\ntraining_price_factor = 1.0"
    assert shut in developer
    opened = developer.replace(shut, "fine_tuning = true\nfine_tuning_jobs = 1\ntraining_price_factor = 1.5")
    path = tmp_path / "tiers.toml"
    path.write_text("\n\n".join((free, opened, enterprise)))
    app = create_app(settings.model_copy(update={"tiers_file": path}))
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False) as client:
        yield client


def training_cost(customer: Customer) -> float:
    body = {"model": "tiny", "training_file": customer.dataset_id()}
    answer = customer.post("/v1/fine_tuning/jobs/estimate", json=body)
    cost: float = answer.json()["estimate"]["cost_micros"]
    return cost


def test_fine_tuning_is_opened_to_developers_at_their_own_price_by_tiers_toml_alone(
    opened: TestClient, customer: Customer, database: Database
) -> None:
    developer = Customer(opened, customer.key, customer.organization_id, customer.project_id)
    assert customer.create_fine_tuning().status_code == 403
    created = developer.create_fine_tuning()
    assert created.status_code == 200, created.text
    enterprise = make_customer(opened, database, tier="enterprise")
    assert training_cost(developer) == 1.5 * training_cost(enterprise) > 0
    beyond = developer.create_fine_tuning()
    assert beyond.status_code == 429
    assert "(fine_tuning_jobs) of the Developer tier: Limit 1, Used 1, Requested 1" in message(beyond)
    free = make_customer(opened, database, tier="free")
    assert "The Developer tier (Pay per token; yard-smoke at $0.75 per million" in message(
        free.create_fine_tuning()
    )


@dataclass(frozen=True)
class Free:
    """A customer of the free tier at one of its bounds. `bound` is set by contract, where the tier's own is
    out of reach of a test."""

    customer: Customer
    operator: Customer
    database: Database

    def bound(self, **limits: int | None) -> None:
        assert set_contract(self.operator, self.customer, **limits) == 200

    def used_up(self, limit: str) -> Response:
        """A synchronous request after others have used what there is."""
        most = 1 if limit.startswith("requests") else 100
        self.bound(**{limit: most})
        tier = UNLIMITED.model_copy(update={limit: most})
        caller = limits.Caller(self.customer.organization_id, self.customer.project_id, tier)
        with self.database.transaction() as tx:
            limits.take(tx, caller, "yard-smoke", tokens=100, tiers=Tiers.load())
        return self.ask()

    def ask(self) -> Response:
        """A synchronous request while an engine is warm."""
        with self.database.transaction() as tx:
            now = clock.now()
            fresh = {"ready_at": now, "needed_at": now, "heartbeat_at": now, "capacity": 8}
            engine = make_engine(tx, status=EngineStatus.READY, url="http://127.0.0.1:9", **fresh)
        try:
            return self.customer.post(CHAT, json=HELLO)
        finally:
            with self.database.transaction() as tx:
                tx.delete(tx.get_one(Engine, engine.id))

    def under_way(self, limit: str) -> None:
        with self.database.transaction() as tx:
            at_once.begin(
                tx,
                f"busy_{self.customer.organization_id}",
                organization_id=self.customer.organization_id,
                project_id=self.customer.project_id,
                limit=limit,
                allowed=None,
                seconds=60.0,
                more="",
            )

    def too_many_lines_today(self) -> Response:
        self.bound(concurrent_batches=9)
        self.customer.batch_id(self.customer.file_id(jsonl(5)))
        return self.customer.create_batch(self.customer.file_id(jsonl(4)))

    def too_many_batches(self) -> Response:
        self.customer.batch_id()
        return self.customer.create_batch()

    def too_many_tokens(self) -> Response:
        self.bound(queued_tokens_max=10)
        return self.customer.create_batch(self.customer.file_id(jsonl(5, words=20)))

    def too_many_at_once(self) -> Response:
        self.bound(requests_at_once=1)
        self.under_way("requests_at_once")
        return self.ask()

    def too_many_parts(self) -> Response:
        upload = self.customer.post("/v1/uploads", json=ANNOUNCED | {"bytes": 10}).json()["id"]
        self.under_way("upload_parts_parallel")
        return self.customer.post(f"/v1/uploads/{upload}/parts", files={"data": ("data", b"0123456789")})


ANNOUNCED = {"filename": "in.jsonl", "purpose": "batch", "mime_type": "application/jsonl"}
UNLIMITED = FREE.model_copy(update=dict.fromkeys(RATES))
DEVELOPER = "The Developer tier (Pay per token; yard-smoke at $"

BOUNDS: dict[str, tuple[str, str, Callable[[Free], Response]]] = {
    "file_bytes_max": ("Limit 4,000", DEVELOPER, lambda at: at.customer.upload(b"x" * 4_001)),
    "upload_bytes_max": (
        "Limit 4,000",
        DEVELOPER,
        lambda at: at.customer.post("/v1/uploads", json=ANNOUNCED | {"bytes": 4_001}),
    ),
    "upload_parts_parallel": ("Limit 1", DEVELOPER, Free.too_many_parts),
    "batch_lines_max": (
        "Limit 5",
        DEVELOPER,
        lambda at: at.customer.create_batch(at.customer.file_id(jsonl(6))),
    ),
    "line_bytes_max": (
        "Limit 1,000",
        DEVELOPER,
        lambda at: at.customer.post(CHAT, json=HELLO | {"user": "x" * 1_000}),
    ),
    "batch_lines_per_day": ("Limit 8, Used 5, Requested 4", DEVELOPER, Free.too_many_lines_today),
    "concurrent_batches": ("Limit 1, Used 1, Requested 1", DEVELOPER, Free.too_many_batches),
    "queued_tokens_max": ("Limit 10", DEVELOPER, Free.too_many_tokens),
    "completion_window_hours_max": (
        "24h",
        DEVELOPER,
        lambda at: at.customer.create_batch(completion_window="48h"),
    ),
    "models": (
        "yard-smoke",
        "The Developer tier (Pay per token; org/large at $0.50 input",
        lambda at: at.customer.create_batch(at.customer.file_id(jsonl(1, model="org/large"))),
    ),
    "fine_tuning": (
        "false",
        "The Enterprise tier (By contract; yard-smoke at $0.50 per million trained tokens)",
        lambda at: at.customer.create_fine_tuning(),
    ),
    "requests_per_minute": ("Limit 1, Used 1", DEVELOPER, lambda at: at.used_up("requests_per_minute")),
    "requests_per_day": ("Limit 1, Used 1", DEVELOPER, lambda at: at.used_up("requests_per_day")),
    "tokens_per_minute": ("Limit 100", DEVELOPER, lambda at: at.used_up("tokens_per_minute")),
    "tokens_per_day": ("Limit 100", DEVELOPER, lambda at: at.used_up("tokens_per_day")),
    "requests_at_once": ("Limit 1, Used 1, Requested 1", DEVELOPER, Free.too_many_at_once),
}


@pytest.mark.parametrize("limit", BOUNDS)
def test_every_bound_of_the_free_tier_says_its_value_and_what_lifts_it_at_which_price(
    limit: str, free_customer: Customer, operator: Customer, database: Database
) -> None:
    value, lifting, reach = BOUNDS[limit]
    refused = reach(Free(free_customer, operator, database))
    assert 400 <= refused.status_code < 500, refused.text
    said = message(refused)
    assert limit in said or limit.replace("_", " ") in said
    assert value in said
    assert lifting in said


def test_no_bound_of_the_free_tier_is_left_out() -> None:
    told_by_its_maximum = {"completion_window_hours_min"}
    bounds = {name for name in FREE.model_fields_set if isinstance(getattr(FREE, name), int)}
    no_bounds = {"priority", "retention_days", *told_by_its_maximum}
    assert bounds - no_bounds == set(BOUNDS) - {"models"}
