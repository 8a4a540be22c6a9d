"""What people and machines put where a name is expected, and where keys of the store and API keys are."""

from corpus import MARK, Case

OUTSIDE = [
    "../x", "..", ".", "/etc/passwd", "a/../../x", "..\\x", "C:\\x", "\\\\host\\share", "a/b", "./a", "a//b", "~/x",
    "%2e%2e%2fx", "..%c0%afx", "....//x", "file:///etc/passwd", ".hidden", "..x",
]  # fmt: skip
CONTROLS = ["a\nb", "a\rb", "a\n", "\na", "a\tb", "a\x1b[2Jb", "a\x07", "a\x7f", "a\x85b", "a\u2028b", "a\u202etxt.exe"]
CODE = [
    f"$(mkdir {MARK})", f"`mkdir {MARK}`", f"; mkdir {MARK}", f"| mkdir {MARK}", f"&& mkdir {MARK}", "$HOME", "${IFS}",
    "${jndi:ldap://127.0.0.1/a}", "{{7*7}}", "{% for x in y %}", "{0.__class__}", "%s%s%s%n", "%(x)s", "$python:os",
    f"__import__('os').mkdir('{MARK}')", f"eval(\"__import__('os').mkdir('{MARK}')\")", "os:system", "a:b.c",
    "'; DROP TABLE jobs; --", "' OR '1'='1", "1; SELECT pg_sleep(10)", "\" OR \"\"=\"", "*", "a*", "?", "[a]",
]  # fmt: skip
MARKUP = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\"><svg onload=alert(1)>", "javascript:alert(1)",
    "&lt;b&gt;", "a&b", "\\input{/etc/passwd}", "\\write18{ls}", "=cmd|'/c calc'!A1", "@SUM(A1)", "+1+1", "=1+1",
    "a;b", "a,b", 'a"b', "a'b", 'x"; filename="y', "x\r\nSet-Cookie: a=b",
]  # fmt: skip
LETTERS = ["", " ", "a b", " a", "a ", "ä", "а", "名前", "😀", "\u200b", "a\u0301", "ﬀ", "Ａ", "a" * 129, "a" * 100_000]
NAMES = [*OUTSIDE, *CONTROLS, *CODE, *MARKUP, *LETTERS]
NUL = ["a\0b", "\0", "a\0.png"]

FIELDS = ("dataset", "weights", "upload", "source")
"""Where an API takes a name: the test says how."""


def named() -> list[Case]:
    """Each name in each field, as (field, name)."""
    return [
        Case(
            f"{field} {number}", lambda field=field, name=name: (field, name), r"\[{\"pointer|/name|/filename|/sources"
        )
        for field in FIELDS
        for number, name in enumerate([*NAMES, *NUL])
    ]


def store_keys() -> list[Case]:
    """Keys that no store takes."""
    bad = [*NAMES, *NUL, "a/", "/a", "a/.b", "a/../b", "a/./b", "a\\b", "a/b/", "a" * 513]
    fine = {"a/b", "a" * 129}
    keys = [key for key in bad if key not in fine]
    return [
        Case(f"store key {number}", lambda key=key: key, "expected a key of names") for number, key in enumerate(keys)
    ]


def api_keys() -> list[Case]:
    """What comes in the header Authorization: texts that latin-1 has, since a header has no others."""
    words = [*OUTSIDE, *CODE, *MARKUP, "", " ", "a" * 129, "a" * 60_000, "ä", "\xff" * 10, "tf_", "tf__", "tf_a_b"]
    words = [word for word in words if word.isprintable()]
    schemes = ["Bearer {}", "Bearer tf_{}_{}", "Basic {}", "{}"]
    return [
        Case(f"key {scheme} {number}", lambda word=word, scheme=scheme: scheme.replace("{}", word), "not_authenticated")
        for scheme in schemes
        for number, word in enumerate(words)
    ]
