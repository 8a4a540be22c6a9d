"""Specs as users give them: a dictionary, a model, or the path of a YAML or JSON file."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from transfusion_core.errors import InvalidRequest
from transfusion_core.specs.base import Spec

SpecLike: TypeAlias = Mapping[str, Any] | Spec | str | Path
FLOAT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+")
"""`1e-3`, which YAML 1.1 takes for text and everybody else for a number."""


def spec_of(spec: SpecLike) -> dict[str, Any]:
    """The spec as it is sent. InvalidRequest where a file cannot be read; what is in it is the service's to judge."""
    if isinstance(spec, Spec):
        return spec.model_dump(mode="json", exclude_unset=True)
    if isinstance(spec, Mapping):
        return dict(spec)
    return read_file(Path(spec))


def read_file(path: Path) -> dict[str, Any]:
    """The spec in a YAML or JSON file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InvalidRequest(f"cannot read the spec {path}: {reason}") from error
    return parse(text, str(path))


def parse(text: str, where: str) -> dict[str, Any]:
    """The spec in a text: JSON where it reads as JSON, else YAML."""
    spec = plain(text, where)
    if not isinstance(spec, dict):
        raise InvalidRequest(f"{where}: expected a mapping of fields, got {type(spec).__name__}")
    return spec


def plain(text: str, where: str) -> Any:
    """What a text says: JSON where it reads as JSON, else YAML."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        return _yaml(text, where, error)


def _yaml(text: str, where: str, json_error: json.JSONDecodeError) -> Any:
    try:
        import yaml
    except ImportError:
        message = f"{where}: not JSON ({json_error}), and YAML needs PyYAML: pip install 'transfusion[cli]'"
        raise InvalidRequest(message) from json_error

    class Loader(yaml.SafeLoader):
        """Plain data only, with the numbers of YAML 1.2."""

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"^{FLOAT.pattern}$"), list("-+.0123456789"))
    try:
        return yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise InvalidRequest(f"{where}: {' '.join(str(error).split())}") from error
