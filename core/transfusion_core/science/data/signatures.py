"""What files are, by their first bytes: a name is the sender's word. Suffixes say what is meant to be an image."""

_DICOM_AT = 128
DICOM_SUFFIXES = (".dcm", ".dicom")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", *DICOM_SUFFIXES)


def is_dicom(data: bytes) -> bool:
    """Do bytes say that they are DICOM."""
    return data[_DICOM_AT : _DICOM_AT + 4] == b"DICM"


def is_called_image(path: str) -> bool:
    """Does a file have the name of an image."""
    return path.lower().endswith(IMAGE_SUFFIXES)
