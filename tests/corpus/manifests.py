"""Tables in the place of a dataset's manifest, and rows in them, that must be told with their row."""

from corpus import Case, each
from corpus.names import CONTROLS, NUL

OUTSIDE = [
    "../x.png",
    "/etc/passwd",
    "a/../../x.png",
    "..\\x.png",
    "C:\\x.png",
    "~/x.png",
    "file:///etc/passwd",
    "a.png/../../x",
]
GRADES = [
    "-1",
    "1.5",
    "1e3",
    "NaN",
    "inf",
    "100",
    "9" * 400,
    "0x1",
    "١",
    "²",
    "=1+1",
    "True",
    "null",
    "$x",
    "",
    " ",
    "1 2",
    "--1",
]
TABLES = {
    "empty": b"", "nul": bytes(100), "utf-16": "file,label\na.png,0\n".encode("utf-16"),
    "latin": b"file,label\n\xe4.png,0\n",
    "no columns": b"a,b\n1,2\n", "twice": b"file,file,label\na.png,b.png,0\n", "quotes": b'file,label\n"a.png,0\n',
    "broken quotes": b'file,label\n"a"b,0\n', "long field": b"file,label\n" + b"a" * 200_000 + b",0\n",
    "png": b"\x89PNG\r\n\x1a\n",
    "other columns": b"image;grade\na.png;0\n", "header alone": b"file,label\n",
}  # fmt: skip


def rows() -> list[Case]:
    """The second row of a table whose first is good, as (file, grade)."""
    controls = [text for text in [*CONTROLS, *NUL] if not {"\n", "\r"} & set(text)]
    files = [*OUTSIDE, *controls, "x" * 2000, "", " ", "b.png"]
    return [
        *each("file", files, lambda name: (name, "1"), "^row 2"),
        *each("grade", GRADES, lambda grade: ("a.png", grade), "^row 2"),
        Case("a file twice", lambda: ("good.png", "1"), "^row 2.*named by row 1"),
    ]


def tables() -> list[Case]:
    """Whole tables."""
    return each("table", TABLES, TABLES.__getitem__, r"labels\.csv|no images|one class|row")
