"""Small pictures inside JSON."""

from base64 import b64encode
from io import BytesIO

from PIL import Image


def data_url(image: Image.Image, form: str = "png") -> str:
    """The image as the data URL of a file: `png` keeps every pixel, `jpeg` is smaller for photographs."""
    file = BytesIO()
    image.save(file, form, optimize=True, quality=90)
    return f"data:image/{form};base64,{b64encode(file.getvalue()).decode()}"
