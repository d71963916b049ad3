"""A table as CSV that a spreadsheet can open without harm."""

import csv
import io
from collections.abc import Iterable, Sequence

# What makes Excel, LibreOffice and Google Sheets take a cell for a formula, in both widths.
FORMULA_STARTS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # noqa: RUF001  # on purpose
CONTROL_STARTS = ("\t", "\r", "\n")


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The table, CRLF between lines as RFC 4180 has it. None is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows([_harmless(cell) for cell in row] for row in rows)
    return text.getvalue()


def _harmless(cell: object) -> object:
    """A text that would be a formula, behind an apostrophe, which spreadsheets hide."""
    if isinstance(cell, str) and (
        cell.startswith(CONTROL_STARTS) or cell.lstrip().startswith(FORMULA_STARTS)
    ):
        return f"'{cell}"
    return cell
