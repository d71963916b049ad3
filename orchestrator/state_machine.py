"""A resource's life as a table of edges, and the one door through which a status changes.

Nothing else assigns `.status`: `transition` checks the edge, compares and sets in one UPDATE, stamps
`<new status>_at` where the table has that column, and appends a `StatusChange` row.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from sqlalchemy import update
from sqlmodel import Session, SQLModel

from orchestrator import clock
from orchestrator.database.tables import StatusChange

S = TypeVar("S", bound=StrEnum)
T = TypeVar("T", bound=StrEnum)


class InvalidTransition(Exception):
    """No edge leaves this status by this trigger: a programming error, or a race already lost."""


@dataclass(frozen=True)
class StateMachine(Generic[S, T]):
    """`edges` maps (status, trigger) to the next status."""

    name: str
    initial: S
    edges: Mapping[tuple[S, T], S]

    def next(self, status: S, trigger: T) -> S | None:
        """Where `trigger` leads from `status`, or None where there is no such edge."""
        return self.edges.get((status, trigger))

    def final(self) -> frozenset[S]:
        """Statuses that no edge leaves."""
        return frozenset(set(self.edges.values()) - {status for status, _ in self.edges})

    def to_mermaid(self) -> str:
        """The diagram that ARCHITECTURE.md shows; a test holds the two together."""
        return "\n".join(self._mermaid_lines())

    def _mermaid_lines(self) -> Iterator[str]:
        yield "stateDiagram-v2"
        yield f"    [*] --> {self.initial}"
        for (old, trigger), new in self.edges.items():
            yield f"    {old} --> {new}: {trigger}"
        for status in sorted(self.final()):
            yield f"    {status} --> [*]"


def transition(
    tx: Session,
    row: SQLModel,
    machine: StateMachine[Any, Any],
    trigger: StrEnum,
    *,
    actor: str,
    reason: str | None = None,
) -> bool:
    """Move `row` along one edge and return True; False if another process moved it first.

    `actor` is who did it: `system`, `prefect`, or an API key's id. On False the row is refreshed, so the
    caller sees what happened instead. Raises InvalidTransition where `machine` has no such edge.
    """
    table: Any = type(row)
    record: Any = row
    old = record.status
    new = machine.next(old, trigger)
    if new is None:
        raise InvalidTransition(f"{machine.name} {record.id}: no edge from '{old}' by '{trigger}'")
    values: dict[str, Any] = {"status": new}
    if f"{new}_at" in table.model_fields:
        values[f"{new}_at"] = clock.now()
    tx.flush()
    moved = tx.execute(
        update(table).where(table.id == record.id, table.status == old).values(**values),
        execution_options={"synchronize_session": False},
    )
    tx.refresh(row)
    if moved.rowcount == 0:  # type: ignore[attr-defined]  # an UPDATE's cursor result has it
        return False
    tx.add(
        StatusChange(
            resource=machine.name,
            resource_id=record.id,
            old=str(old),
            new=str(new),
            trigger=str(trigger),
            actor=actor,
            reason=reason,
            at=clock.now(),
        )
    )
    return True
