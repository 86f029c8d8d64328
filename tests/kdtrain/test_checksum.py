"""Checksums are the same with and without the library that is faster."""

import importlib
import sys
import zlib

import numpy as np
import pytest

from kdtrain.runtime import checksum


@pytest.fixture(params=["isal", "zlib"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    if request.param == "zlib":
        monkeypatch.setitem(sys.modules, "isal.isal_zlib", None)
    yield request.param
    monkeypatch.undo()
    importlib.reload(checksum)


def test_both_libraries_compute_crc_32(library: str) -> None:
    crc32 = importlib.reload(checksum).crc32
    assert crc32.__module__ in ("zlib", "isal.isal_zlib")
    assert ("isal" in crc32.__module__) == (library == "isal")
    assert crc32(b"123456789") == 0xCBF43926  # the check value of CRC-32
    pixels = np.random.default_rng(0).integers(0, 256, (3, 50, 70), dtype=np.uint8)
    assert crc32(pixels.data, 7) == zlib.crc32(pixels.tobytes(), 7)
