"""The HTTP API: composition root and walk through what it is made of.

access (id, time, log) -> errors (one envelope) -> routes -> services in `orchestrator`
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypedDict

import httpx
from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from pydantic import SecretStr

from api import errors
from api.access import Access
from api.auth import authenticate
from api.deps import refuse_nul
from api.routes import (
    admin_keys,
    audit_logs,
    batches,
    files,
    fine_tuning,
    fine_tuning_estimates,
    fine_tunings,
    health,
    invitations,
    invoices,
    joining,
    keys,
    limits,
    members,
    models,
    operators,
    organizations,
    price_lists,
    projects,
    quotes,
    reservations,
    sandbox,
    spending,
    tiers,
    uploads,
    usage,
    validations,
    webhooks,
)
from api.slots import Slots
from api.yard import Yard
from orchestrator.child_pool import ChildPool
from orchestrator.database.session import Database
from orchestrator.entitlements.tiers import Tiers
from orchestrator.models.registry import Registry
from orchestrator.settings import Settings
from orchestrator.storage.open import open_store

# OpenAI's SDK asks under /v1, Groq's under /openai/v1: the same routes.
PREFIXES = ("/v1", "/openai/v1")

ROUTES = (
    *(files, validations, uploads, batches, fine_tuning, fine_tuning_estimates, fine_tunings),
    *(models, sandbox, tiers, limits, usage, quotes, invoices, spending),
    *(organizations, projects, keys, admin_keys, members, invitations, joining, audit_logs),
    *(webhooks, operators, price_lists, reservations),
)

OPEN_ROUTES = (tiers, joining)  # need no key

ENGINE_CONNECTIONS = httpx.Limits(max_connections=1_000, keepalive_expiry=3.0)  # below vLLM's own 5 s

DESCRIPTION = """
Batch inference on your own GPUs, behind the API that the `openai` and `groq` packages speak.

```python
from openai import OpenAI
client = OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="...")

file = client.files.create(file=open("input.jsonl", "rb"), purpose="batch")
batch = client.batches.create(
    input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
)
batch = client.batches.retrieve(batch.id)          # until status is completed
print(client.files.content(batch.output_file_id).text)
```

The same for LoRA fine-tuning, whose models the lines of a batch may name:

```python
file = client.files.create(file=open("train.jsonl", "rb"), purpose="fine-tune")
job = client.fine_tuning.jobs.create(model="yard-smoke", training_file=file.id)
job = client.fine_tuning.jobs.retrieve(job.id)     # until status is succeeded
print(job.fine_tuned_model)
```

What goes beyond OpenAI's API: `progress`, `estimate` and `cost` on every batch, results while they
come (`GET /v1/batches/{id}/output`), a check and a quote before any batch exists
(`POST /v1/files/{id}/validate`), another run of only what failed
(`POST /v1/batches/{id}/retry`), what a fine-tuning job would take and whether its examples are in order
(`POST /v1/fine_tuning/jobs/estimate`), and every limit on one page (`GET /v1/tiers`). Errors have OpenAI's
envelope and always an `x-request-id`.
"""


class State(TypedDict):
    """What the lifespan puts into every request's state."""

    yard: Yard


def create_app(settings: Settings) -> FastAPI:
    """The application. Its parts are opened when it starts and closed when it ends."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
        async with open_yard(settings) as yard:
            yield State(yard=yard)

    app = FastAPIOffline(
        title="Tokenyard",
        version="0.1.0",
        description=DESCRIPTION,
        lifespan=lifespan,
        generate_unique_id_function=_operation_id,
        redoc_url=None,
        dependencies=[Depends(refuse_nul)],
    )
    for prefix in PREFIXES:
        for route in ROUTES:  # into the app itself: every router between costs each request a search
            app.include_router(
                route.router,
                prefix=prefix,
                include_in_schema=prefix == PREFIXES[0],
                dependencies=[] if route in OPEN_ROUTES else [Depends(authenticate)],
            )
    app.include_router(health.router)
    errors.install(app)
    app.add_middleware(Access)
    return app


@asynccontextmanager
async def open_yard(settings: Settings) -> AsyncIterator[Yard]:
    """Everything that requests share. Raises RuntimeError where the settings name no database."""
    if settings.database_url is None:
        raise RuntimeError("YARD_DATABASE_URL is not set: start with `yard up`, or point it at Postgres")
    home = settings.absolute_home()
    scratch = home / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        database = Database(settings.database_url.get_secret_value())
        stack.callback(database.close)
        registry = Registry.load(settings.models_file, home=home)
        preparations, datasets = ChildPool(), ChildPool()
        stack.callback(preparations.close)
        stack.callback(datasets.close)
        yield Yard(
            settings=settings,
            database=database,
            store=open_store(settings),
            tiers=Tiers.load(settings.tiers_file).priced(registry.prices()),
            registry=registry,
            scratch=scratch,
            preparations=preparations,
            preparation_slots=Slots("file validations at once"),
            datasets=datasets,
            dataset_slots=Slots("fine-tuning estimates at once"),
            import_slots=Slots("adapter imports at once"),
            request_slots=Slots("synchronous requests at once"),
            engines=await stack.enter_async_context(
                httpx.AsyncClient(limits=ENGINE_CONNECTIONS, trust_env=False)
            ),
            prefect=await stack.enter_async_context(_prefect_client(settings)),
        )


def _prefect_client(settings: Settings) -> httpx.AsyncClient:
    user, _, password = (settings.prefect_auth or SecretStr("")).get_secret_value().partition(":")
    return httpx.AsyncClient(
        base_url=settings.prefect_api_url(),
        auth=httpx.BasicAuth(user, password) if user else None,
    )


def _operation_id(route: APIRoute) -> str:
    """The function's name: clients made from the schema then have readable methods."""
    return route.name
