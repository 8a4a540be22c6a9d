"""What can be wrong with a source before its tensors meet a network."""

from transfusion_core.errors import DataError


class SourceUnreadable(DataError):
    """The weight file cannot be used."""

    code = "source_unreadable"


class SourceUnreachable(DataError):
    """The published weights cannot be fetched from here."""

    code = "source_unreachable"
