"""JSON merge patches (RFC 7396): a spec from another one by what is different."""

from typing import Any


def merged(target: Any, patch: Any) -> Any:
    """The target after the patch: objects are merged name by name, null takes a name away, the rest is replaced."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result
