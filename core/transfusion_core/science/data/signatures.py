"""What files are, by their first bytes: a name is the sender's word."""

_DICOM_AT = 128
DICOM_SUFFIXES = (".dcm", ".dicom")


def is_dicom(data: bytes) -> bool:
    """Do bytes say that they are DICOM."""
    return data[_DICOM_AT : _DICOM_AT + 4] == b"DICM"
