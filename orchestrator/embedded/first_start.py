"""What a database needs before its first request: the schema, and somebody who may ask.

    python -m orchestrator.embedded.first_start               every tier gets an organization and a key
    python -m orchestrator.embedded.first_start --operator    prints a key that runs the yard, no more

`yard up` runs the first at every start; it does what is missing. The second is for a yard in production
(YARD_DATABASE_URL names its Postgres), before its API starts. The keys of the first are written once, to
a file that only its owner can read. Whoever removes that file gets new keys for the same organizations.
"""

import json
import os
import sys
from pathlib import Path

from sqlmodel import Session, select

from orchestrator.database.migrate import migrate
from orchestrator.database.session import Database
from orchestrator.entitlements.tiers import Tiers
from orchestrator.organizations import keys, projects
from orchestrator.organizations import service as organizations
from orchestrator.organizations.model import Organization, Role
from orchestrator.settings import Settings

OPERATOR = "operator"


def main(*, operator_only: bool = False) -> None:
    settings = Settings()
    if settings.database_url is None:
        raise SystemExit("YARD_DATABASE_URL is not set: it is `yard up` that runs this")
    url = settings.database_url.get_secret_value()
    sys.stderr.write("bringing the schema up to date\n")
    migrate(url)
    tiers = Tiers.load(settings.tiers_file)
    database = Database(url)
    if operator_only:
        with database.transaction() as tx:
            key = make_operator_key(tx, tiers)
        sys.stdout.write(f"{key}\n")
    elif not settings.keys_file().exists():
        sys.stdout.write("making the first organizations and their keys\n")
        with database.transaction() as tx:
            made = make_keys(tx, tiers)
        write_private(settings.keys_file(), json.dumps(made, indent=2) + "\n")
    database.close()


def make_keys(tx: Session, tiers: Tiers) -> dict[str, str]:
    """A fresh key for one organization of each tier, by the tier's name, and one for `operator`.

    Organizations that an earlier first start has made are used again.
    """
    names = [tier.name for tier in tiers]
    made = {name: _make_key(tx, f"demo-{name}", tier=name, role=Role.OWNER) for name in names}
    made[OPERATOR] = make_operator_key(tx, tiers)
    return made


def make_operator_key(tx: Session, tiers: Tiers) -> str:
    """A fresh key of the organization that runs the yard."""
    return _make_key(tx, OPERATOR, tier=[tier.name for tier in tiers][-1], role=Role.OPERATOR)


def _make_key(tx: Session, name: str, *, tier: str, role: Role) -> str:
    known = tx.exec(select(Organization).where(Organization.name == name)).first()
    organization = known or organizations.create(tx, name=name, tier=tier)
    project = projects.get(tx, organization.id, None)
    _, key = keys.create(tx, project_id=project.id, name="first start", role=role)
    return key


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all. Raises FileExistsError."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)
    os.link(unfinished, path)  # unlike a rename, refuses to replace what is there
    unfinished.unlink()


if __name__ == "__main__":
    main(operator_only="--operator" in sys.argv[1:])
