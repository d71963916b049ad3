"""The datasets of a fine-tuning command: files on this machine, or ids of files uploaded before."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from api.cli import files
from api.cli.client import Client, Refused

ID_PREFIX = "file-"

Dataset = Annotated[
    str, typer.Argument(metavar="FILE", help="Examples as JSONL, or the id of a file uploaded before.")
]
Validation = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Examples that are not trained on, to see what they would lose."),
]


@contextmanager
def uploaded(yard: Client, train: str, valid: str | None, *, keep: bool) -> Iterator[dict[str, str]]:
    """The ids of both, as a job names them; what is not there yet is uploaded. What was uploaded is deleted
    again when the block ends, or, with `keep`, when the yard refuses what is done with it.

    Raises BadParameter, Refused, Unreachable.
    """
    named = {"training_file": train} | ({} if valid is None else {"validation_file": valid})
    paths = {param: Path(name) for param, name in named.items() if not _is_id(name)}
    for path in paths.values():
        if not path.is_file():
            raise typer.BadParameter(f"There is no file {path}, and it is no file's id.")
    new: list[str] = []
    try:
        for param, path in paths.items():
            new.append(files.upload(yard, path, purpose="fine-tune")["id"])
            named[param] = new[-1]
        yield named
    except Refused:
        keep = False
        raise
    finally:
        for file_id in [] if keep else new:
            yard.delete(f"/files/{file_id}")


def _is_id(name: str) -> bool:
    return name.startswith(ID_PREFIX) and not Path(name).exists()
