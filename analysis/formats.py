"""How numbers are written, once for report, plots and paper: mIoU in points, durations, counts."""

import math
import re
from collections.abc import Sequence

MISSING = "–"
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""How a text begins that spreadsheets take for a formula."""
_NUMBER = re.compile("{0}( \\[{0}, {0}\\])?".format(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf|nan)"), re.IGNORECASE)


def missing(value: float | None) -> bool:
    """Whether a number is None or NaN."""
    return value is None or math.isnan(value)


def text(value: object) -> str:
    """A text, empty where it is missing."""
    return value if isinstance(value, str) else ""


def points(fraction: float | None) -> str:
    """A fraction 0..1 as points 0..100: ``0.534`` is ``53.40``."""
    return MISSING if missing(fraction) else f"{100 * fraction:z.2f}"  # type: ignore[operator]


def signed(fraction: float | None) -> str:
    """A difference of fractions as points with its sign: ``-0.0021`` is ``-0.21``; what rounds to 0 has none."""
    return MISSING if missing(fraction) else f"{100 * fraction:+z.2f}".replace("+0.00", "0.00")  # type: ignore[operator]


def interval(low: float | None, high: float | None) -> str:
    """The ends of an interval of a difference, in points: ``[+0.40, +2.00]``; empty where there is none."""
    return "" if missing(low) or missing(high) else f"[{signed(low)}, {signed(high)}]"


def share(fraction: float | None) -> str:
    """A share in whole per cent: ``0.524`` is ``52 %``."""
    return MISSING if missing(fraction) else f"{100 * fraction:z.0f} %"  # type: ignore[operator]


def each(fractions: Sequence[float], sign: bool = False) -> str:
    """Every value of a list, in its order."""
    return ", ".join(map(signed if sign else points, fractions)) or MISSING


def latency(milliseconds: float | None) -> str:
    """The time that a network takes for an image: ``12.2 ms``."""
    return MISSING if missing(milliseconds) else f"{milliseconds:.1f} ms"


def cost(figure: str, value: float | None) -> str:
    """A cost of a student by the name of its figure: ``8 ms``, ``1.2 M parameters``, ``340 M multiply-accumulates``."""
    if missing(value):
        return MISSING
    if figure == "latency_ms":
        return f"{value:.3g} ms"
    return f"{big(value)} {'parameters' if figure == 'params' else 'multiply-accumulates'}"


def spreadsheet_text(content: str) -> str:
    """A text as a cell of CSV: one that a spreadsheet takes for a formula gets a quote before it; numbers stay.

    A number may be followed by its interval, as ``+7.00 [-1.12, +15.12]``.
    """
    if not content.startswith(_FORMULA) or _NUMBER.fullmatch(content):
        return content
    return f"'{content}"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that reads best: ``42 s``, ``3.5 min``, ``7.2 h``."""
    if missing(seconds):
        return MISSING
    assert seconds is not None
    for limit, divisor, unit in ((90, 1, "s"), (5400, 60, "min"), (math.inf, 3600, "h")):
        if seconds < limit:
            value = seconds / divisor
            return f"{value:.0f} {unit}" if unit == "s" or value >= 100 else f"{value:.1f} {unit}"
    return MISSING


def short_duration(seconds: float) -> str:
    """As `duration`, with two digits below ten seconds: ``0.17 ms``, ``82 ms``, ``0.56 s``, ``3.5 min``."""
    if seconds < 0.0995:
        return f"{1e3 * seconds:.2g} ms"
    return f"{seconds:.2g} s" if seconds < 9.95 else duration(seconds)


def count(number: float | None) -> str:
    """A count with thousands separated: ``26,700,000`` parameters."""
    return MISSING if missing(number) else f"{number:,.0f}"


def size(bytes_: float | None) -> str:
    """A size of memory: ``3.2 GiB``."""
    return MISSING if missing(bytes_) else f"{bytes_ / 2**30:.3g} GiB"  # type: ignore[operator]


def gigabytes(bytes_: float, digits: int = 3) -> str:
    """Space on a disk in GB, without a unit: ``0.201``, ``20.9``, ``1,240``; never with a power of ten."""
    count = bytes_ / 1e9
    return f"{count:.{digits}g}" if count < 10**digits - 0.5 else f"{count:,.0f}"


def plural(number: int, noun: str) -> str:
    """A count with its noun: ``1 parameter``, ``2 parameters``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def big(number: float | None) -> str:
    """A big count in short: ``26.7 M``."""
    if missing(number):
        return MISSING
    assert number is not None
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {unit}"
    return f"{number:.0f}"
