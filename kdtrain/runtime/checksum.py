"""CRC-32 of large arrays, at the speed of memory where the library isal is installed."""

try:  # the same checksums as zlib's, four times as fast
    from isal.isal_zlib import crc32
except ImportError:  # a machine that only trains may lack it
    from zlib import crc32

__all__ = ["crc32"]
