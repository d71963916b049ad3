"""`yard doctor`: whether there can be a yard on this machine, and what to do about the rest."""

from dataclasses import asdict
from typing import Annotated

import typer

from api.cli import render
from api.cli.exits import Exit
from orchestrator.embedded.doctor import Verdict, examine
from orchestrator.settings import Settings

STYLES = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}


def doctor(
    json: Annotated[bool, typer.Option("--json", help="The findings, for scripts.")] = False,
) -> None:
    """Look at this machine, say what is missing and what to do. Ends with 1 if a yard cannot start.

    ```
    yard doctor
    YARD_HOME=/srv/yard YARD_STORE_URL=s3://bucket/yard yard doctor
    ```
    """
    findings = examine(Settings())
    if json:
        render.show_json([asdict(finding) for finding in findings])
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            render.out.print(f"[{STYLES[finding.verdict]}]{finding.verdict:<5}[/]", end=" ")
            render.out.print(f"{finding.name:<{width}}  {finding.found}", markup=False)
            if finding.advice:
                render.out.print(f"      {'':<{width}}  {finding.advice}", markup=False)
    if any(finding.verdict is Verdict.FAIL for finding in findings):
        raise typer.Exit(Exit.FAILED)
