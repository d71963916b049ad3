"""What the layers of one request know of it together: its id, and who asks once that is known."""

from dataclasses import dataclass

from orchestrator.organizations.principal import Principal


@dataclass
class Trace:
    """Made by `api.access`, completed by `api.auth`; lives in the ASGI scope under `trace`."""

    request_id: str
    principal: Principal | None = None
