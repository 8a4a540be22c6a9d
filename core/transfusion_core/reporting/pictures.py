"""A Vega-Lite chart as a picture, without a browser and without the network."""

from typing import Any

import vl_convert

PNG_SCALE = 2.0


def svg(chart: dict[str, Any]) -> str:
    """As SVG."""
    drawn: str = vl_convert.vegalite_to_svg(chart, allowed_base_urls=[])
    return drawn


def png(chart: dict[str, Any]) -> bytes:
    """As PNG, at twice its size."""
    drawn: bytes = vl_convert.vegalite_to_png(chart, scale=PNG_SCALE, allowed_base_urls=[])
    return drawn


def pdf(chart: dict[str, Any]) -> bytes:
    """As PDF."""
    drawn: bytes = vl_convert.vegalite_to_pdf(chart, allowed_base_urls=[])
    return drawn
