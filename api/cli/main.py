"""The command `yard`: the whole yard, or one part of its API, from a terminal."""

from typing import Any

import typer
from typer.core import TyperGroup

from api.cli import (
    audit,
    batch,
    chat,
    doctor,
    files,
    fine_tune,
    invitations,
    keys,
    limits,
    members,
    models,
    organizations,
    projects,
    quotes,
    render,
    reservations,
    spend,
    up,
    usage,
    webhooks,
)
from api.cli.client import NoKey, Refused, Unreachable
from api.cli.exits import HELP, Exit


class Yard(TyperGroup):
    """Every error that a person can do something about ends as a sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Refused as error:
            render.refusal(error)
            raise typer.Exit(Exit.UNREACHABLE if error.status >= 500 else Exit.REFUSED) from None
        except Unreachable as error:
            render.trouble(error)
            raise typer.Exit(Exit.UNREACHABLE) from None
        except NoKey as error:
            render.trouble(error)
            raise typer.Exit(Exit.USAGE) from None


app = typer.Typer(
    name="yard",
    cls=Yard,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
    help=f"""Tokenyard: batch inference and LoRA fine-tuning on your own GPUs, through the OpenAI API.

    ```
    yard up                                    start a whole yard on this machine
    yard chat yard-smoke "Hello"               try a model
    yard batch submit lines.jsonl --wait       upload, run, and see the costs
    yard batch output batch_… > results.jsonl  fetch the results
    yard fine-tune create train.jsonl --model yard-smoke --wait
    ```

    Commands talk to **YARD_BASE_URL** (default: the yard on this machine) with **YARD_API_KEY**
    (default, on this machine: the demo keys in YARD_HOME).

    {HELP}
    """,
)
app.command()(up.up)
app.command()(doctor.doctor)
app.command()(chat.chat)
app.command()(models.tiers)
app.command()(limits.limits)
app.command()(usage.usage)
app.command()(usage.invoice)
app.command()(quotes.quotes)
app.add_typer(batch.app, name="batch")
app.add_typer(fine_tune.app, name="fine-tune")
app.add_typer(files.app, name="files")
app.add_typer(models.app, name="model")
app.add_typer(spend.app, name="spend")
app.add_typer(webhooks.app, name="webhook")
app.add_typer(organizations.app, name="org")
app.add_typer(reservations.app, name="reservation")
app.add_typer(projects.app, name="project")
app.add_typer(keys.app, name="key")
app.add_typer(members.app, name="member")
app.add_typer(invitations.app, name="invite")
app.command()(audit.audit)
