"""The whole API over an empty database and store, with tiers small enough to reach every limit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import Response
from sqlmodel import select
from starlette.testclient import TestClient

from api.app import create_app
from orchestrator.database.migrate import migrate
from orchestrator.database.session import Database
from orchestrator.embedded.postgres import EmbeddedPostgres
from orchestrator.files.model import File
from orchestrator.organizations import keys, projects
from orchestrator.organizations import service as organizations
from orchestrator.organizations.model import Role
from orchestrator.settings import Settings
from tests.api.lines import dataset, jsonl
from tests.api.yard_files import MODELS, TIERS
from tests.tiny_tokenizer import write_tokenizer


@dataclass(frozen=True)
class Customer:
    """One key, and the HTTP calls that it makes."""

    http: TestClient
    key: str
    organization_id: str
    project_id: str

    def get(self, path: str, **how: Any) -> Response:
        return self._send("GET", path, **how)

    def post(self, path: str, **how: Any) -> Response:
        return self._send("POST", path, **how)

    def delete(self, path: str, **how: Any) -> Response:
        return self._send("DELETE", path, **how)

    def upload(
        self,
        content: bytes | None = None,
        *,
        filename: str = "in.jsonl",
        purpose: str = "batch",
        **fields: str,
    ) -> Response:
        """`POST /files` of a form with the purpose first, as the SDKs send it."""
        content = jsonl(3) if content is None else content
        return self.post(
            "/v1/files",
            data={"purpose": purpose, **fields},
            files={"file": (filename, content, "application/octet-stream")},
        )

    def file_id(self, content: bytes | None = None, **how: str) -> str:
        """The id of a file just uploaded."""
        answer = self.upload(content, **how)
        assert answer.status_code == 200, answer.text
        file_id: str = answer.json()["id"]
        return file_id

    def create_batch(self, file_id: str | None = None, **body: Any) -> Response:
        """`POST /batches` of a new file unless told otherwise."""
        given = {
            "input_file_id": file_id or self.file_id(),
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        return self.post("/v1/batches", json=given | body)

    def batch_id(self, file_id: str | None = None, **body: Any) -> str:
        """The id of a batch just created."""
        answer = self.create_batch(file_id, **body)
        assert answer.status_code == 200, answer.text
        batch_id: str = answer.json()["id"]
        return batch_id

    def dataset_id(self, examples: int = 12) -> str:
        """The id of a dataset just uploaded."""
        return self.file_id(dataset(examples), purpose="fine-tune", filename="train.jsonl")

    def create_fine_tuning(self, **body: Any) -> Response:
        """`POST /fine_tuning/jobs` with a new dataset unless told otherwise."""
        given = {"model": "yard-smoke", "training_file": body.get("training_file") or self.dataset_id()}
        return self.post("/v1/fine_tuning/jobs", json=given | body)

    def fine_tuning_id(self, **body: Any) -> str:
        """The id of a fine-tuning job just created."""
        answer = self.create_fine_tuning(**body)
        assert answer.status_code == 200, answer.text
        job_id: str = answer.json()["id"]
        return job_id

    def _send(self, method: str, path: str, **how: Any) -> Response:
        headers = {"authorization": f"Bearer {self.key}", **how.pop("headers", {})}
        return self.http.request(method, path, headers=headers, **how)


@pytest.fixture(scope="session")
def database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """One database for all of these tests: each makes organizations of its own, and whatever one of
    them saw of another's would be a fault."""
    postgres.create_database("test_api")
    migrate(postgres.url("test_api"))
    database = Database(postgres.url("test_api"))
    yield database
    database.close()


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory, database: Database) -> Settings:
    """A yard with its Prefect at an address where nothing answers, and of its models the tokenizer of
    `tiny` alone."""
    home = tmp_path_factory.mktemp("yard")
    write_tokenizer(home / "tiny")
    (home / "tiers.toml").write_text(TIERS)
    (home / "models.toml").write_text(MODELS)
    return Settings(
        home=home,
        database_url=database.url,
        tiers_file=home / "tiers.toml",
        models_file=home / "models.toml",
        prefect_port=9,
    )


@pytest.fixture(scope="session")
def app(settings: Settings) -> FastAPI:
    return create_app(settings)


@pytest.fixture(scope="session")
def http(app: FastAPI) -> Iterator[TestClient]:
    """The running application, without a key."""
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False) as client:
        yield client


@pytest.fixture
def customer(http: TestClient, database: Database) -> Customer:
    """A key of an organization in the developer tier."""
    return make_customer(http, database)


@pytest.fixture
def trainer(http: TestClient, database: Database) -> Customer:
    """A key of an organization in the enterprise tier, the only one that fine-tunes."""
    return make_customer(http, database, tier="enterprise")


@pytest.fixture
def stranger(http: TestClient, database: Database) -> Customer:
    """A key of another organization."""
    return make_customer(http, database, name="Strangers")


@pytest.fixture
def free_customer(http: TestClient, database: Database) -> Customer:
    """A key of an organization in the free tier."""
    return make_customer(http, database, name="Free", tier="free")


@pytest.fixture
def operator(http: TestClient, database: Database) -> Customer:
    """A key of whoever runs the yard."""
    return make_customer(http, database, name="Operators", role=Role.OPERATOR)


def make_customer(
    http: TestClient,
    database: Database,
    *,
    name: str = "Acme",
    tier: str = "developer",
    role: Role = Role.OWNER,
) -> Customer:
    with database.transaction() as tx:
        organization = organizations.create(tx, name=name, tier=tier)
        project = projects.get(tx, organization.id, None)
        _, key = keys.create(tx, project_id=project.id, name="test", role=role)
        return Customer(http, key, organization.id, project.id)


@dataclass(frozen=True)
class Remains:
    """What an organization has in the file table and in the store."""

    files: list[str]
    objects: list[str]


Look = Callable[[Customer], Remains]

NOTHING = Remains([], [])


@pytest.fixture
def remains(database: Database, settings: Settings) -> Look:
    """Ask what a request has left."""

    def look(of: Customer) -> Remains:
        with database.read() as tx:
            rows = tx.exec(select(File.id).where(File.organization_id == of.organization_id))
            files = list(rows)
        root = settings.absolute_home() / "store"
        found = (root / of.organization_id).rglob("*")
        return Remains(files, [str(p.relative_to(root)) for p in found if p.is_file()])

    return look
