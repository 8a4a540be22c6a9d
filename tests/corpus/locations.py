"""URLs and hosts that a service must not be made to ask."""

from corpus import Case

SCHEMES = ["http", "https", "ftp", "gopher", "dict", "ldap", "sftp", "tftp", "jar", "data", "php", "s3a", "gs", "HTTP"]
INTERNAL = [
    "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]",
    "169.254.169.254", "10.0.0.1", "192.168.0.1", "172.16.0.1", "100.64.0.1", "[fd00::1]", "[fe80::1]",
]  # fmt: skip
HOSTS = [
    *INTERNAL, "0", "127.000.000.001", "0x7f.1", "017700000001", "224.0.0.1", "255.255.255.255",
    "240.0.0.1", "192.0.0.8", "198.18.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "[::]", "[ff02::1]",
    "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[2002:7f00:1::]", "[2001:db8::1]", "[fec0::1]",
    "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
]  # fmt: skip
"""All numbers, so that no name server is asked; each is of no address of the open internet."""

FILES = [
    "file://host/etc/passwd", "file:etc", "file:/etc/passwd", "file://", "FILE:///etc/passwd",
    "file:////proc/self/environ",
    "file:///proc/self/environ", "file:///proc/self/root/etc/passwd", "file:///dev/zero", "file:///dev/stdin",
    "file:///sys/kernel", "file:///etc/../proc/version", "file:///%2e%2e/proc/version", "file:///a%00b",
    "file:///%ff%fe",
    "file:///nowhere/at/all", "file:///etc/passwd%0a", "file:///" + "a" * 900, "file:///" + "a/" * 400,
    "file:///dev/fd/0", "file:///dev/../proc/1/environ",
]  # fmt: skip
BUCKETS = [
    "s3://", "s3:///key", "s3://a", "s3://UPPER/key", "s3://under_score/key", "s3://a..b/key", "s3://-a-/key",
    "s3://open@127.0.0.1/key", "s3://open:80/key", "s3://open?x/key", "s3://open#x/key",
    "s3://169.254.169.254/latest",
    "s3://open\\evil/key", "s3://" + "a" * 64 + "/key", "s3://closed/key", "s3://openly/key", "s3://open.evil/key",
    "s3://open/public/../secret", "s3://open/public/./x", "s3://open/public//x", "s3://open/../closed/x",
    "s3://open/x",
    "s3://open/publicity", "s3://open/public/a\nb", "s3://open/public/a\x00b", "s3://open/public/..",
    "S3://open/public/x",
    "s3://open/public/\u202e", "s3://open/private/x", "s3://open",
]  # fmt: skip
UPLOADS = [
    "upload:",
    "upload:../x",
    "upload:a/b",
    "upload:a b",
    "upload:" + "a" * 129,
    "upload:nobody",
    "UPLOAD:x",
    "x",
]
ALLOWED = "s3://open/public"


def urls() -> list[Case]:
    """Locations of datasets of an embedded service that allows `ALLOWED` alone."""
    internal = [f"{scheme}://{host}/a.zip" for scheme in SCHEMES for host in INTERNAL]
    buckets = [f"s3://{host.strip('[]')}/a.zip" for host in INTERNAL]
    places = [*internal, *buckets, *FILES, *BUCKETS, *UPLOADS]
    return [
        Case(f"location {place[:60]!r}", lambda place=place: place, "/location|cannot be stored") for place in places
    ]


def hosts() -> list[Case]:
    """Hosts of URLs that are not opened."""
    return [
        Case(f"host {host}", lambda host=host: host.strip("[]"), "no address of the open internet|not known")
        for host in HOSTS
    ]
