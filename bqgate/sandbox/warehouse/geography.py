"""Read the text of a GEOGRAPHY: points only, as POINT(longitude latitude).

Loads, parameters and literals use it. Pure. DuckDB without its spatial extension has no shapes, so lines and polygons,
which BigQuery also turns and splits when it reads them, are refused with NotSupported.
"""

from __future__ import annotations

import re

from bqgate.sandbox.warehouse.errors import NotSupported, QueryInvalid

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_POINT = re.compile(rf"\s*POINT\s*\(\s*({_NUMBER})\s+({_NUMBER})\s*\)\s*", re.IGNORECASE)
_SHAPES = re.compile(r"\s*(POINT|LINESTRING|POLYGON|MULTI\w+|GEOMETRYCOLLECTION|FULLGLOBE)\b|\s*\{", re.IGNORECASE)


def canonical(text: str) -> str:
    """Return a point's text as BigQuery writes it.

    Raises:
        QueryInvalid: The text is no geography.
        NotSupported: It is one, and not a point.
    """
    found = _POINT.fullmatch(text)
    if found is None:
        if _SHAPES.match(text) and not text.upper().lstrip().startswith("POINT"):
            raise NotSupported("a GEOGRAPHY other than a point.")
        raise QueryInvalid(f"ST_GeogFromText failed: Invalid WKT: {text}")
    longitude, latitude = float(found[1]), float(found[2])
    if abs(latitude) > 90 or abs(longitude) > 360:
        raise QueryInvalid(f"ST_GeogFromText failed: Latitude must be between -90 and 90 degrees: {text}")
    return f"POINT({_number(longitude)} {_number(latitude)})"


def _number(value: float) -> str:
    return f"{value:.15g}"
