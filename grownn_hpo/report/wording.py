"""Numbers as people read them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

from grownn_hpo.report.statistics import Estimate


def number(x: float | None, beside: Iterable[float | None] = ()) -> str:
    """Three significant digits, whole thousands kept and separated: 1,532 and 0.873.

    Numbers to be compared get equally many decimals, three digits for the largest of them: `beside` holds the others.
    """
    if x is None:
        return "\N{EN DASH}"
    if not math.isfinite(x):
        return str(x)
    largest = max(abs(y) for y in (x, *beside) if y is not None and math.isfinite(y))
    if largest == 0:
        return "0"
    if not 1e-4 <= largest < 1e12:
        return f"{x:.2e}"
    return f"{x:,.{max(0, 2 - math.floor(math.log10(largest)))}f}"


def percent(x: float | None) -> str:
    """A fraction as a percentage; never rounded to 0% or 100% when it is not."""
    if x is None:
        return "\N{EN DASH}"
    text = f"{100 * x:.0f}%"
    return f"{100 * x:.1f}%" if (text == "100%" and x < 1) or (text == "0%" and x > 0) else text


def count(n: int, noun: str) -> str:
    """`1 seed`, `1,000 seeds`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def env_steps(n: int) -> str:
    """`2,000,000` becomes `2 million`."""
    for unit, size in (("billion", 10**9), ("million", 10**6)):
        if n >= size:
            return f"{n / size:,.2f}".rstrip("0").rstrip(".") + f" {unit} env steps"
    return count(n, "env step")


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.4 h`, `1,204 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 100 else f"{hours:,.0f} h"


def clock(at: float, now: float) -> str:
    """A moment in seconds since 1970, by the local clock: `14:20`, `Tue 14:20`, or `3 Dec 14:20` further away."""
    then, today = time.localtime(at), time.localtime(now)
    if then[:3] == today[:3]:
        return time.strftime("%H:%M", then)
    return time.strftime("%a %H:%M" if abs(at - now) < 6 * 86400 else "%-d %b %H:%M", then)


def interval(estimate: Estimate, alone: str = "one value, no interval") -> str:
    """`0.87 [0.81, 0.92]`; a value without an interval says so, with the word `alone`."""
    if estimate.low is None or estimate.high is None:
        return f"{number(estimate.value)} ({alone})"
    ends = (estimate.low, estimate.high, estimate.value)
    return f"{number(estimate.value, ends)} [{number(estimate.low, ends)}, {number(estimate.high, ends)}]"


def percentage(estimate: Estimate) -> str:
    """`87% [81%, 92%]`, of fractions; a value without an interval stands alone."""
    if estimate.low is None or estimate.high is None:
        return percent(estimate.value)
    return f"{percent(estimate.value)} [{percent(estimate.low)}, {percent(estimate.high)}]"


def signed(difference: Estimate) -> str:
    """`+0.26 [+0.10, +0.41]`: an interval of a difference, every number with its sign."""
    if difference.low is None or difference.high is None:
        return f"{_with_sign(difference.value, ())} (one value, no interval)"
    ends = (difference.low, difference.high, difference.value)
    value, low, high = (_with_sign(x, ends) for x in (difference.value, difference.low, difference.high))
    return f"{value} [{low}, {high}]"


def _with_sign(x: float, beside: Iterable[float]) -> str:
    return number(x, beside) if x <= 0 else f"+{number(x, beside)}"
