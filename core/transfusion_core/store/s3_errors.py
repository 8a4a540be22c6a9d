"""What an S3 server's answers mean in our words."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from transfusion_core.errors import ObjectMissing, StoreError, Unavailable

ABSENT = frozenset({"404", "NoSuchKey", "NoSuchBucket", "NotFound", "NoSuchUpload"})
_PASSING = frozenset({"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "TooManyRequests"})
_DAMAGED = frozenset({"BadDigest", "IncompleteBody"})
"""The server noticed that a body did not arrive as it was sent."""
_CREDENTIALS = frozenset(
    {
        "401",
        "403",
        "AccessDenied",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)


@contextmanager
def translated(key: str, *, fine: frozenset[str] = frozenset()) -> Iterator[None]:
    """botocore's errors as ours; those of the codes in `fine` are none."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code not in fine:
            raise _meaning(key, code, error) from error
    except (BotoCoreError, ResponseParserError) as error:
        raise Unavailable(f"the store does not answer (at '{key}'): {error}") from error


def _meaning(key: str, code: str, error: ClientError) -> StoreError | Unavailable:
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    told = f"{error.operation_name} was answered {status} {code}: {error.response.get('Error', {}).get('Message', '')}"
    if code in ABSENT:
        return ObjectMissing(f"there is no object '{key}' in the store")
    if status >= 500 or status == 429 or code in _PASSING:
        return Unavailable(f"the store failed (at '{key}'): {told}")
    if code in _DAMAGED:
        return Unavailable(f"bytes did not arrive in the store as they were sent (at '{key}'): {told}")
    if code in _CREDENTIALS:
        return StoreError(f"the store refused our credentials (at '{key}'): {told}")
    return StoreError(f"the store refused (at '{key}'): {told}")
