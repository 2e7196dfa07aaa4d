"""Charts of the page: bars as SVG, and the figures that stand in the table behind each. Pure."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from stream_scrub.server.watch.history import History, Point

WIDTH, HEIGHT = 600, 140
_HOUR_S, _DAY_S = 3600, 86_400
_SPANS = (("hour", "last hour", 60, 60), ("day", "last day", 900, 96))  # stretches of a minute, of 15 minutes


class Bar(NamedTuple):
    """A rectangle of a chart: its class names what it shows."""

    tone: str
    x: float
    y: float
    width: float
    height: float


class Chart(NamedTuple):
    """One chart. `names` are the series, as the head of the table and as the legend, `rows` the table's: a moment and a
    figure for each series, as texts. `top` is what the highest line of the chart stands for, `ticks` are moments along
    its foot."""

    id: str
    title: str
    told: str
    names: Sequence[tuple[str, str]]
    bars: Sequence[Bar]
    top: str
    ticks: Sequence[tuple[float, str]]
    rows: Sequence[tuple[str, Sequence[str]]]


def charts(history: History, now: datetime) -> list[Chart]:
    """Prospects a second by verdict, those that wait, and the age of the index, over the last hour and day."""
    made = []
    for name, words, stretch_s, count in _SPANS:
        points = history.points(now, stretch_s, count)
        verdicts = [("allowed", "allowed a second"), ("blocked", "blocked a second")]
        made.append(
            _chart(
                f"rate-{name}",
                f"Prospects a second, {words}",
                verdicts,
                points,
                [[point.allowed, point.blocked] for point in points],
            )
        )
        made.append(
            _chart(
                f"lag-{name}",
                f"Prospects that wait, {words}",
                [("lag", "waiting, at most")],
                points,
                [[point.lag] for point in points],
            )
        )
        made.append(
            _chart(
                f"index-{name}",
                f"Age of the oldest index, {words}",
                [("lag", "seconds, at most")],
                points,
                [[point.log_lag_s] for point in points],
            )
        )
    return made


def reasons(history: History, now: datetime) -> list[tuple[str, int, int]]:
    """Prospects by reason: the reason, in the last hour, in the last day; the most frequent of the day first."""
    hour, day = history.by_reason(now, _HOUR_S), history.by_reason(now, _DAY_S)
    return [(reason, hour[reason], count) for reason, count in day.most_common() if count]


def _chart(
    id_: str,
    title: str,
    names: Sequence[tuple[str, str]],
    points: Sequence[Point],
    values: Sequence[Sequence[float | None]],
) -> Chart:
    known = [sum(each for each in row if each is not None) for row in values if row[0] is not None]
    most = max(known, default=0.0)
    top = _round_up(most)
    step = WIDTH / len(points)
    bars = []
    for place, row in enumerate(values):
        foot = float(HEIGHT)
        for (tone, _), value in zip(names, row, strict=True):
            height = 0.0 if value is None else value / top * HEIGHT
            if height > 0:
                foot -= height
                bars.append(
                    Bar(tone, round(place * step, 2), round(foot, 2), round(step * 0.8, 2), round(height, 2))
                )
    told = (
        f"{len(known)} of {len(points)} stretches are known; the most is {figure(most)}"
        if known
        else "Nothing is known yet"
    )
    return Chart(
        id=id_,
        title=title,
        told=told,
        names=names,
        bars=bars,
        top=figure(top),
        ticks=[(round(place * step, 2), _clock(points[place].at)) for place in (0, len(points) // 2)],
        rows=[
            (_clock(point.at), ["" if value is None else figure(value) for value in row])
            for point, row in zip(points, values, strict=True)
            if row[0] is not None
        ],
    )


def figure(value: float) -> str:
    """A figure for people: three digits or more, no decimals that say nothing."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.2f}"


def _round_up(value: float) -> float:
    """1, 2 or 5 times a power of ten, at least as much."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(times * power for times in (1, 2, 5, 10) if times * power >= value * 0.999_999)


def _clock(at: datetime) -> str:
    return at.strftime("%H:%M")
