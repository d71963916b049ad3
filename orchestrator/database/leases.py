"""A named role that one process holds at a time, for example the dispatcher's.

The holder renews well before the end; should it die, another takes over once the lease has run out.
For the moment in which a slow holder has not yet noticed, what it does must be safe to do twice.
"""

from datetime import timedelta

from sqlalchemy import delete, or_
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col

from orchestrator import clock
from orchestrator.database.tables import Lease


def acquire(tx: Session, name: str, token: str, seconds: float) -> bool:
    """Take the role, or keep it if `token` has it, for `seconds`. False: another has it."""
    now = clock.now()
    ours = {"token": token, "expires_at": now + timedelta(seconds=seconds)}
    upsert = insert(Lease).values(name=name, **ours)
    upsert = upsert.on_conflict_do_update(
        index_elements=[col(Lease.name)],
        set_=ours,
        where=or_(col(Lease.token) == token, col(Lease.expires_at) < now),
    )
    return tx.execute(upsert.returning(col(Lease.token))).first() is not None


def release(tx: Session, name: str, token: str) -> None:
    """Give the role up, if `token` has it, so that another need not wait."""
    tx.execute(delete(Lease).where(col(Lease.name) == name, col(Lease.token) == token))
