"""check-books: reckons the whole ledger again from result files and checkpoints.

Started by an operator, from Prefect's pages or with `prefect deployment run check-books/check-books`. It
reads every result file there is.
"""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.artifacts import show_markdown
from flows.composition import yard
from orchestrator.ledger_rebuild import Rebuilt, rebuild
from orchestrator.metering.prices import dollars

DIFFERENCES_SHOWN = 100


@flow(name="check-books", persist_result=False)
async def check_books() -> State[None]:
    """Compare every charge and balance with what the files say; failed where one differs."""
    here = yard()
    found = await rebuild(here.database, here.store, scratch=here.scratch)
    await show_markdown(summary(found), key="books")
    message = f"{found.charges} charges rebuilt, {len(found.differences)} differences"
    return Failed(name="Differs", message=message) if found.differences else Completed(message=message)


def summary(found: Rebuilt) -> str:
    """What was compared, and what differs, as a page of Markdown for operators."""
    rows = {
        "charges rebuilt": found.charges,
        "of these, counts that only the ledger has": found.taken,
        "balances": len(found.balances),
        "in all": dollars(sum(found.balances.values())),
        "differences": len(found.differences),
    }
    table = [f"| {what} | {value} |" for what, value in rows.items()]
    listed = [f"- {difference}" for difference in found.differences[:DIFFERENCES_SHOWN]]
    return "\n".join(["| books | |", "|---|---|", *table, "", *listed])
