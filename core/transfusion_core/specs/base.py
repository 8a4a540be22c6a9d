"""The two ways a body is read: strict when somebody writes to us, lenient when we read what was stored."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$")]
"""A name that users give: letters, digits, '.', '_' and '-', no leading dot."""

Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A content address: sha256 in hexadecimal."""

STORED = "stored"
"""Validation context of what was checked when it was written."""


class Spec(BaseModel):
    """Something a user writes. Unknown fields are refused; it does not change once made."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @classmethod
    def read(cls, stored: Any) -> Self:
        """Read a stored spec leniently: fields of a newer version are ignored, names are not looked up again."""
        return cls.model_validate(stored, extra="ignore", context=STORED)


class Record(BaseModel):
    """Something the platform answers or stores. Unknown fields are ignored when it is read."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True, allow_inf_nan=False)
