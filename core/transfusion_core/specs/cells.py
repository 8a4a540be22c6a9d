"""Cells of CSV files that people open in spreadsheets: words of strangers that no spreadsheet takes for a formula."""

FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
"""How a cell begins that a spreadsheet reckons out; names of classes may begin so. A quote is put before it."""


def inert(word: str) -> str:
    """A word as a cell that is not reckoned out."""
    return f"'{word}" if word.startswith(FORMULA) else word


def as_it_was(cell: str) -> str:
    """The word behind such a cell."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell
