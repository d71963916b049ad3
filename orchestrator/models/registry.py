"""The base models of this yard: what models.toml says, typed. Strict: a key it does not know is an error."""

import tomllib
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from orchestrator.metering.prices import MICROS, Prices
from orchestrator.models import smoke
from orchestrator.models.endpoints import ENDPOINTS
from orchestrator.models.tokens import ModelTokens, tokenizer_folder

SHIPPED = Path(__file__).with_name("models.toml")
NEVER = datetime.fromtimestamp(0, UTC)
ID_CHARACTERS_MAX = 128  # an adapter's name, of at most 256, begins with its base's
SERVED_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # vLLM's --max-lora-rank


class LoraSpec(BaseModel):
    """How a base model is fine-tuned, and how its engines serve adapters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank_max: int = 32
    loaded_max: int = Field(default=16, ge=1)
    training_price: Decimal = Field(ge=0)
    learning_rate: float | None = Field(default=None, gt=0)
    example_tokens_max: int | None = Field(default=None, gt=0)
    training_gpus: int = Field(default=1, ge=1)

    @field_validator("rank_max")
    @classmethod
    def _is_a_rank_of_engines(cls, rank: int) -> int:
        if rank not in SERVED_RANKS:
            raise ValueError(f"{rank}; engines take one of {', '.join(map(str, SERVED_RANKS))}")
        return rank

    def training_price_micros(self) -> int:
        """Micro-dollars per million trained tokens."""
        return int(self.training_price * MICROS)


class ModelSpec(BaseModel):
    """One base model. Exactly one of `source` (we start its engines) and `url` (somebody else does). With
    `organizations` it exists for those alone.

    `capacity` of an engine is `max_num_seqs` lines at once. Prices are US dollars per million tokens.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(max_length=ID_CHARACTERS_MAX)
    source: str | None = None
    url: str | None = None
    api_key_file: Path | None = None
    description: str = ""
    owned_by: str = "operator"
    context_length: int = Field(gt=0)
    endpoints: tuple[str, ...] = Field(min_length=1)
    input_price: Decimal = Field(ge=0)
    cached_input_price: Decimal = Field(ge=0)
    output_price: Decimal = Field(ge=0)
    gpus: int = Field(default=1, ge=1)
    max_num_seqs: int = Field(default=256, ge=1)
    engine_flags: tuple[str, ...] = ()
    idle_seconds: int = Field(default=300, ge=0)
    lora: LoraSpec | None = None
    organizations: tuple[str, ...] = ()

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str | None) -> str | None:
        """Without a final /v1, which people copy from a client's settings; the paths of lines have it."""
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is no address: it starts with http:// or https://")
        return url and url.rstrip("/").removesuffix("/v1")

    @field_validator("endpoints")
    @classmethod
    def _are_known(cls, endpoints: tuple[str, ...]) -> tuple[str, ...]:
        unknown = set(endpoints) - set(ENDPOINTS)
        if unknown:
            raise ValueError(f"unknown are {', '.join(sorted(unknown))}; known are {', '.join(ENDPOINTS)}")
        return endpoints

    @field_validator("organizations")
    @classmethod
    def _are_ids(cls, organizations: tuple[str, ...]) -> tuple[str, ...]:
        if not organizations or not all(name.startswith("org_") for name in organizations):
            raise ValueError(
                "list the ids of organizations (org_…), or leave it out: then all have the model"
            )
        return organizations

    @model_validator(mode="after")
    def _has_one_home(self) -> "ModelSpec":
        if (self.source is None) == (self.url is None):
            raise ValueError("give either `source` or `url`, and not both")
        if self.api_key_file is not None and self.url is None:
            raise ValueError("`api_key_file` goes with `url`; engines of our own have keys of our own")
        if self.lora is not None and self.source is None:
            raise ValueError("`lora` needs a `source`: adapters are trained and loaded here")
        return self

    def prices(self) -> Prices:
        """Micro-dollars per million tokens, as models.toml has them: what applies to an organization is in
        `metering/price_lists.py`."""
        return Prices(
            input=int(self.input_price * MICROS),
            cached_input=int(self.cached_input_price * MICROS),
            output=int(self.output_price * MICROS),
            training=self.lora.training_price_micros() if self.lora else None,
        )

    def api_key(self) -> str | None:
        """The key that a remote server asks for, read anew each time so that it can be rotated."""
        return self.api_key_file.read_text().strip() if self.api_key_file else None

    def tokens(self) -> ModelTokens:
        """What sizing a request takes. Without its tokenizer on this machine, sizes are estimates."""
        return ModelTokens(
            tokenizer=tokenizer_folder(self.source) if self.source else None,
            context_length=self.context_length,
            endpoints=self.endpoints,
        )


class Registry:
    """All base models, in the order of the file, and when that was written."""

    def __init__(self, specs: tuple[ModelSpec, ...], *, written_at: datetime = NEVER) -> None:
        self._by_id = {spec.id: spec for spec in specs}
        self.written_at = written_at

    @staticmethod
    def load(path: Path | None, *, home: Path) -> "Registry":
        """Read `path`, or the models that ship with the yard; relative sources are below `home`.

        Raises ValueError naming the file, and of everything that is missing or wrong the model and key.
        """
        path = path or SHIPPED
        try:
            document = tomllib.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error
        tables = document.pop("models", None)
        if document or not isinstance(tables, dict) or not tables:
            found = ", ".join(document) or "none"
            raise ValueError(f'{path}: expected tables [models."<id>"] and nothing else, found {found}')
        specs = tuple(_spec(path, home, name, table) for name, table in tables.items())
        return Registry(specs, written_at=datetime.fromtimestamp(path.stat().st_mtime, UTC))

    def get(self, model: str) -> ModelSpec | None:
        """The model of that id, None where there is none."""
        return self._by_id.get(model)

    def all(self) -> list[ModelSpec]:
        """Every model."""
        return list(self._by_id.values())

    def seen_by(self, organization_id: str) -> "Registry":
        """The models that exist for an organization: to it, the others were never there."""
        seen = (
            spec for spec in self.all() if not spec.organizations or organization_id in spec.organizations
        )
        return Registry(tuple(seen), written_at=self.written_at)

    def public(self) -> list[ModelSpec]:
        """The models that exist for everybody."""
        return [spec for spec in self.all() if not spec.organizations]

    def prices(self) -> dict[str, Prices]:
        """The price list of models.toml, by model."""
        return {spec.id: spec.prices() for spec in self.all()}


def _spec(path: Path, home: Path, name: str, table: object) -> ModelSpec:
    where = f"{path}: model {name!r}"
    if not isinstance(table, dict) or "id" in table:
        raise ValueError(f'{where}: expected a table [models."{name}"], whose name is the id')
    try:
        spec = ModelSpec.model_validate({**table, "id": name})
    except ValidationError as error:
        problems = "; ".join(_in_words(problem) for problem in error.errors())
        raise ValueError(f"{where}: {problems}") from error
    try:
        return spec.model_copy(update={"source": _source(spec.source, home)})
    except FileNotFoundError as error:
        raise ValueError(f"{where}: source: {error}") from error


def _in_words(problem: ErrorDetails) -> str:
    key = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        keys = [name for name in ModelSpec.model_fields if name != "id"]
        return f"{key}: no such key; the keys are {', '.join(keys)}"
    said = problem["msg"].removeprefix("Value error, ")
    return f"{key}: {said}" if key else said


def _source(source: str | None, home: Path) -> str | None:
    """The smoke model's folder, a local folder as an absolute path, or a Hugging Face id as it is."""
    if source is None:
        return None
    if source == smoke.SOURCE:
        return str(smoke.folder(home))
    folder = home / Path(source).expanduser()
    if folder.is_dir():
        return str(folder.resolve())
    if source.startswith(("/", ".", "~")):
        raise FileNotFoundError(f"there is no folder {folder}")
    return source
