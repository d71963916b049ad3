"""What Prefect's programs find in their environment: its server, our workers, the dispatcher.

Only a dictionary: Prefect itself is not known here. Each value is there because of a measurement or
because it would otherwise call home; a test holds the names against the pinned Prefect.
"""

from datetime import timedelta

from orchestrator.settings import Settings

POLL_SECONDS = 1  # Prefect's default of 10 is most of the wait for a run
HEARTBEAT_SECONDS = 5  # a dead worker is shown offline after some 20
RETENTION = timedelta(days=30)  # a flow run takes some 75 KB; our own rows are the record
CANCELLING_SECONDS_MAX = 900  # longer than our workers let a cancelled run take


def prefect_environment(settings: Settings) -> dict[str, str]:
    """The variables for every process that runs Prefect's server or talks to it."""
    environment = {
        "DO_NOT_TRACK": "1",
        "PREFECT_HOME": str(settings.absolute_home() / "prefect"),
        "PREFECT_API_URL": settings.prefect_api_url(),
        "PREFECT_UI_URL": settings.prefect_ui_url(),
        # Without it a client that finds no address starts a server of its own on some port.
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_API_HOST": settings.prefect_host,
        "PREFECT_SERVER_API_PORT": str(settings.prefect_port),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
        # The pages ask the server that served them, by whatever name they were reached.
        "PREFECT_SERVER_UI_API_URL": "/api",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_UI_V2_ENABLED": "false",  # its pages call a tracker from the browser
        # A run that waits is normal here; marking each one late costs more than starting it.
        "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
        # Loops over what a yard has none of: paused runs, automations, schedules that change.
        "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "60",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(int(RETENTION.total_seconds())),
        "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_CANCELLING_TIMEOUT_SECONDS": str(
            CANCELLING_SECONDS_MAX
        ),
        "PREFECT_WORKER_QUERY_SECONDS": str(POLL_SECONDS),
        "PREFECT_WORKER_HEARTBEAT_SECONDS": str(HEARTBEAT_SECONDS),
        # A run's logs go to its page at INFO, to the console only when something is wrong.
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_LOGGING_COLORS": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_CLI_COLORS": "false",
        "PREFECT_CLI_PROMPT": "false",
    }
    if settings.prefect_auth is not None:
        secret = settings.prefect_auth.get_secret_value()
        environment["PREFECT_SERVER_API_AUTH_STRING"] = secret
        environment["PREFECT_API_AUTH_STRING"] = secret
    if settings.prefect_database_url is not None:
        url = settings.prefect_database_url.get_secret_value()
        environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = _asyncpg_url(url)
    return environment


def _asyncpg_url(url: str) -> str:
    """The same database by the driver that Prefect's server uses."""
    scheme, separator, rest = url.partition("://")
    if not separator or not scheme.startswith("postgres"):
        raise ValueError("prefect_database_url: expected postgresql://…: Prefect on SQLite loses runs")
    return f"postgresql+asyncpg://{rest}"
