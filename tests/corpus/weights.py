"""Weight files that lie about where their numbers are, are something else, or are programs."""

import json
import pickle
import struct
from typing import Any

from corpus import MARK, Case, each

OTHERS = {
    "lfs": b"version https://git-lfs.github.com/spec/v1\n", "html": b"<!DOCTYPE html>", "page": b"<html>",
    "png": b"\x89PNG\r\n\x1a\n",
    "jpeg": b"\xff\xd8\xff\xe0", "hdf5": b"\x89HDF\r\n\x1a\n", "gzip": b"\x1f\x8b\x08", "gguf": b"GGUF\3\0\0\0",
    "elf": b"\x7fELF",
    "exe": b"MZ\x90\0", "script": b"#!/bin/sh\nmkdir hostile-input-ran\n", "text": b"hello world",
    "json": b"{\"a\": [1, 2, 3]}",
    "npy": b"\x93NUMPY\1\0", "onnx": b"\x08\x07\x12\x07pytorch", "tf": b"\x0a\x0b\x0a\x04conv", "empty": b"",
    "one": b"\0",
    "eight": b"\0" * 8, "nul": bytes(1000), "rar": b"Rar!\x1a\x07\x01\x00", "7z": b"7z\xbc\xaf\x27\x1c",
    "pdf": b"%PDF-1.7",
}  # fmt: skip
LENGTHS = [0, 1, 7, 2**31, 2**32, 2**40, 2**63 - 1, 2**63, 2**64 - 1, 100_000_001]
F = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
HEADERS: dict[str, Any] = {
    "beyond the end": {"a": F | {"data_offsets": [0, 800], "shape": [200]}},
    "before the start": {"a": F | {"data_offsets": [-8, 0]}},
    "backwards": {"a": F | {"data_offsets": [8, 0]}},
    "overlapping": {"a": F, "b": F},
    "overlapping in part": {"a": F, "b": F | {"data_offsets": [4, 12]}},
    "a gap": {"a": F | {"data_offsets": [4, 12]}},
    "one offset": {"a": F | {"data_offsets": [0]}},
    "three offsets": {"a": F | {"data_offsets": [0, 4, 8]}},
    "offsets of text": {"a": F | {"data_offsets": ["0", "8"]}},
    "offsets with fractions": {"a": F | {"data_offsets": [0.5, 8.5]}},
    "huge offsets": {"a": F | {"data_offsets": [0, 2**64]}},
    "no offsets": {"a": {"dtype": "F32", "shape": [2]}},
    "negative shape": {"a": F | {"shape": [-2]}},
    "two negative sides": {"a": F | {"shape": [-1, -2]}},
    "huge shape": {"a": F | {"shape": [2**40]}},
    "a shape that overflows": {"a": F | {"shape": [2**33, 2**33]}},
    "a shape that overflows to 2": {"a": F | {"shape": [2**63 + 1, 2]}},
    "a shape of text": {"a": F | {"shape": "2"}},
    "too small a shape": {"a": F | {"shape": [1]}},
    "no shape": {"a": {"dtype": "F32", "data_offsets": [0, 8]}},
    "unknown numbers": {"a": F | {"dtype": "F33"}},
    "numbers of code": {"a": F | {"dtype": f"__import__('os').mkdir('{MARK}')"}},
    "no numbers": {"a": F | {"dtype": None}},
    "a list for a tensor": {"a": [1]},
    "null for a tensor": {"a": None},
    "text for a tensor": {"a": "F32"},
    "metadata of numbers": {"__metadata__": {"a": 1}, "a": F},
    "metadata of lists": {"__metadata__": [], "a": F},
    "bytes that belong to nobody": {"a": F | {"shape": [1], "data_offsets": [0, 4]}},
    "no tensors": {},
    "metadata alone": {"__metadata__": {"format": "pt"}},
}
RAW = [b"{", b"{}" * 5, b"{'a': 1}", b'{"a": NaN}', b"{" * 5000, b'{"a":' * 5000, b"{\xff\xfe}", b'{"\\ud800": 1}']
NUMBERS = [float("nan"), float("inf"), float("-inf")]
ERROR = "expected (a weight file|safetensors|a safetensors|a whole safetensors|tensors|finite)"


def weights() -> list[Case]:
    """Bytes of weight files that are read without a process of their own."""
    tensor = json.dumps(F).encode()
    return [
        *each("a", OTHERS, OTHERS.__getitem__, ERROR),
        *each("header of", LENGTHS, lambda length: struct.pack("<Q", length) + b'{"a": {}}', ERROR),
        *each("header with", HEADERS, lambda name: _file(json.dumps(HEADERS[name]).encode()), ERROR),
        *each("header", RAW, _file, ERROR),
        *each("number", NUMBERS, lambda value: _file(b'{"a": %b}' % tensor, value), ERROR),
        *each("cut at eighth", range(1, 8), _cut, ERROR),
        Case("a name twice", lambda: _file(b'{"a": %b, "a": %b}' % (tensor, tensor), floats=4), ERROR),
    ]


def _file(header: bytes, value: float = 0.5, *, floats: int = 2) -> bytes:
    return struct.pack("<Q", len(header)) + header + struct.pack(f"<{floats}f", *[value] * floats)


def _cut(part: int) -> bytes:
    whole = _file(json.dumps({"a": F}).encode())
    return whole[: len(whole) * part // 8]


CALLS = [
    "os.system",
    "os.mkdir",
    "posix.system",
    "subprocess.Popen",
    "builtins.eval",
    "builtins.exec",
    "builtins.getattr",
    "builtins.__import__",
    "builtins.open",
    "builtins.compile",
    "importlib.import_module",
    "pickle.loads",
    "torch.load",
    "torch.hub.load",
    "torch.jit.load",
    "shutil.rmtree",
    "socket.socket",
    "webbrowser.open",
    "ctypes.CDLL",
    "runpy.run_path",
    "timeit.timeit",
    "cProfile.run",
    "pty.spawn",
    "asyncio.run",
    "urllib.request.urlopen",
    "numpy.load",
    "functools.partial",
    "operator.attrgetter",
    "transfusion_core.science.isolation.shut_in",
    "multiprocessing.util.spawnv_passfds",
]


def pickles() -> list[Case]:
    """Pickles that call something with the name `MARK`; nobody may read them but with `weights_only`, shut in."""
    return each("calls", CALLS, lambda call: _call(*call.rsplit(".", 1)), r"Unsupported|GLOBAL|weights")


def _call(module: str, name: str) -> bytes:
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + pickle.dumps(MARK, protocol=2)[2:-1] + b"\x85R."
