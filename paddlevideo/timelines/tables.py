"""Tables of numbers on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paddlevideo.utils.log import print_table


def print_rows(columns: Sequence[str], rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Prints the numbers ``columns`` of each row; the first row, the model's, stands out."""
    from rich.table import Table

    table = Table("", *columns)
    for index, (title, numbers) in enumerate(rows.items()):
        cells = [f"{numbers[name]:.2f}" if name in numbers else "" for name in columns]
        table.add_row(title, *cells, style="dim" if index else "bold")
    print_table(table, 100)
