"""What a batch of a file would be: its lines, its problems, its cost."""

from typing import Any, Literal

import msgspec

from api.schemas.wire import Wire
from orchestrator.batches.preparation import Preparation


class ModelUse(Wire):
    """What the file asks of one model. Tokens are counted with the model's own tokenizer where this
    machine has it."""

    id: str
    lines: int
    prompt_tokens: int
    max_output_tokens: int


class FileValidation(Wire):
    """`problems` are the first 100; the file `report_file_id` has all of them, one a line. `quote` is
    what `estimate` of a batch would show, for the lines that can run."""

    object: Literal["file.validation"] = "file.validation"
    file_id: str
    lines: int
    bad_lines: int
    problems: list[dict[str, Any]]
    report_file_id: str | None
    models: list[ModelUse]
    quote: dict[str, Any]

    @classmethod
    def of(
        cls,
        file_id: str,
        prepared: Preparation,
        *,
        report_file_id: str | None,
        quote: dict[str, Any],
    ) -> "FileValidation":
        """The outcome of preparing a file without a batch."""
        return cls(
            file_id=file_id,
            lines=prepared.lines,
            bad_lines=prepared.bad_lines,
            problems=[msgspec.to_builtins(problem) for problem in prepared.first_problems],
            report_file_id=report_file_id,
            models=[
                ModelUse(
                    id=model,
                    lines=sums.lines,
                    prompt_tokens=sums.prompt_tokens,
                    max_output_tokens=sums.max_output_tokens,
                )
                for model, sums in prepared.models.items()
            ],
            quote=quote,
        )
