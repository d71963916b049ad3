"""Serves the API: `python -m api`."""

import uvicorn

from api.app import create_app
from orchestrator import telemetry
from orchestrator.settings import Settings

SHUTDOWN_SECONDS = 10


def main() -> None:
    """Serve until SIGTERM or SIGINT; requests under way get SHUTDOWN_SECONDS to end."""
    telemetry.configure("api")
    settings = Settings()
    uvicorn.run(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        http="httptools",
        loop="uvloop",
        access_log=False,  # ours has the request id and the organization
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


if __name__ == "__main__":
    main()
