"""The values that the page shows. Pure: the current time is an argument."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from markupsafe import Markup

from stream_scrub.clock import utc_seconds
from stream_scrub.errors import StaleIndex
from stream_scrub.index import Index
from stream_scrub.log.follower import Follower
from stream_scrub.model import OWN, Reason, RegisterName, family
from stream_scrub.numbering import REGIONS
from stream_scrub.ops import health
from stream_scrub.ops.logs import mask
from stream_scrub.queries import history, rules_report
from stream_scrub.rules import Rulebook
from stream_scrub.scrub.plans import strictest_ages
from stream_scrub.serve.endpoints import why_stale
from stream_scrub.serve.watch import recalls
from stream_scrub.serve.watch.log_tail import DeltaSummary
from stream_scrub.serve.watch.time_series import Point, TimeSeries
from stream_scrub.serve.watch.watcher import Watched

_HOUR_S, _DAY_S = 3600, 86_400
# The origin of a delta that is not a list, by its seal's reason.
_BY = {"requests": "requests on", "ended": "expired numbers:", "restated": "full restatement, no change:"}
_SOON = 0.8  # of the age that a list may have: time to fetch a new one
_WIDTH, _HEIGHT = 600, 140
_SPANS = (("hour", "last hour", 60, 60), ("day", "last day", 900, 96))  # intervals of 1 and 15 minutes


class Safety:
    """Whether it is safe to dial, and since when."""

    def __init__(self, follower: Follower, lag_max_s: float) -> None:
        self._follower = follower
        self._lag_max_s = lag_max_s
        self._cause: str | None = ""
        self._since = datetime.now(UTC)

    def look(self, now: datetime) -> tuple[StaleIndex | None, datetime]:
        """Return why it is not safe now (None: it is), and since when as far as this server knows."""
        stale = why_stale(self._follower, self._lag_max_s)
        cause = None if stale is None else stale.cause
        if cause != self._cause:
            self._cause, self._since = cause, now
        return stale, self._since


def overview(
    safety: Safety,
    follower: Follower,
    rulebook: Rulebook,
    checks: Mapping[Reason, int],
    now: datetime,
) -> dict[str, Any]:
    """Return the live part of the page."""
    stale, since = safety.look(now)
    index = follower.index
    status = msgspec.to_builtins(history.status(index, rulebook, now))
    unusable, notes = status["unusable"], {each["register"]: each["note"] for each in status["registers"]}
    return {
        "safe": stale is None,
        "since": since,
        "cause": None if stale is None else health.cause(stale.cause, str(stale)),
        "position": index.position,
        "lag_s": follower.lag_s,
        "registers": _registers(index, rulebook, unusable, notes, now),
        "unusable": unusable,
        "blocked": sorted({country for each in unusable for country in each["countries"]}),
        "checks": [(str(r.verdict), str(r), checks[r]) for r in Reason if checks.get(r)],
        "total": sum(checks.values()),
        "at": now,
    }


class Wrong(NamedTuple):
    """Something that an operator has to do."""

    what: str
    why: str
    do: str


def wrong(shown: Mapping[str, Any], watched: Sequence[Watched]) -> list[Wrong]:
    """Return what is wrong apart from the answer to "safe to dial", the worst first."""
    found = [
        Wrong(
            f"Requests at {each.name}",
            f"{each.loop.unread:,} may be opt-outs and could not be read: their people may be called",
            "settle them under Unread requests (docs/runbook.md, OppositionsUnread)",
        )
        for each in watched
        if each.loop.unread
    ]
    found += [
        Wrong(f"{each.name}: {each.state}", each.loop.why, each.loop.do)
        for each in watched
        if each.state != "ready"
    ]
    lacking = absent(shown)
    found += [
        Wrong(
            f"Register {each['register']}",
            f"{each['why']}; numbers of {', '.join(each['countries'])} are blocked as stale-register",
            "import a new list, if you call people there",
        )
        for each in shown["unusable"]
        if each["register"] not in lacking
    ]
    found += [
        Wrong(
            f"Register {each['name']}",
            f"its list is {each['age_days']} days old, of at most {each['most_days']}",
            "import a newer list",
        )
        for each in shown["registers"]
        if each["state"] == "soon"
    ]
    return found


def absent(shown: Mapping[str, Any]) -> list[str]:
    """Return the registers that rules need and that nobody imported: mostly of countries that nobody here calls."""
    present = {family(each["name"]) for each in shown["registers"]}
    return [each["register"] for each in shown["unusable"] if each["register"] not in present]


def rules_today(rulebook: Rulebook, now: datetime) -> list[dict[str, Any]]:
    """Return the rule of every country today, as the API does."""
    return [
        msgspec.to_builtins(rules_report.of_day(country, rulebook.day(country.regions[0], now) or now.date()))
        for _, country in sorted(rulebook.countries.items())
    ]


def purposes(rulebook: Rulebook) -> list[str]:
    """Return the purposes that a call can have: those that the rules know words for."""
    rules = rulebook.rules
    known = {name for rule in rules for meanings in rule.purposes.values() for name in meanings}
    return sorted(known.union(*(rule.named_purposes for rule in rules)))


def regions(rulebook: Rulebook) -> list[str]:
    """Return the regions of national numbers that have a rule: no states, whose numbers are their country's."""
    return sorted(REGIONS & {each for country in rulebook.countries.values() for each in country.regions})


def register_choices(index: Index, rulebook: Rulebook) -> list[str]:
    """Return the registers that a list can be for: those of the rules, the operator's own, and those on the log."""
    return sorted({*rulebook.kinds, *OWN, *(each.name for each in index.present())})


def campaigns(index: Index) -> list[str]:
    """Return the campaigns that registers name."""
    return sorted({RegisterName.split(each.name).campaign for each in index.present()} - {""})


def origin(delta: DeltaSummary) -> str:
    """Return the list or the requests that a delta came from."""
    return f"{_BY.get(delta.reason, delta.reason)} {mask(delta.source)}"


def moment(at: datetime | str | None) -> Markup:
    """Return a time in UTC for people; the page's script adds the viewer's own."""
    if not at:
        return Markup("")
    text = at if isinstance(at, str) else utc_seconds(at)
    shown = f"{text[:10]} {text[11:16]} UTC"
    return Markup('<time datetime="{}">{}</time>').format(text, shown)


def _registers(
    index: Index,
    rulebook: Rulebook,
    unusable: Sequence[Mapping[str, Any]],
    notes: Mapping[str, str],
    now: datetime,
) -> list[dict[str, Any]]:
    """`used` is a list's age as a share of the allowed age (None: no limit)."""
    ages = strictest_ages(rulebook, now)
    bad = {each["register"] for each in unusable}
    rows = []
    for each in index.present():
        name = each.name
        age = (now - each.effective_at) / timedelta(seconds=1)
        most = ages.get(family(name))
        used = None if most is None else age / most
        state = "unusable" if family(name) in bad else "soon" if used is not None and used > _SOON else "well"
        rows.append(
            {
                "name": name,
                "kind": each.kind,
                "count": len(each.numbers),
                "day": each.effective_at,
                "age_days": round(age / _DAY_S, 1),
                "most_days": None if most is None else round(most / _DAY_S),
                "used": used,
                "next_end": each.next_end,
                "source": mask(each.source),
                "state": state,
                "note": notes[name],
            }
        )
    return rows


class OutstandingIn(NamedTuple):
    """The numbers of a country that may still be called."""

    country: str
    numbers: int
    week: int  # those whose last day is at most a week from today
    last_day: str


def outstanding_by_country(watched: Sequence[Watched], now: datetime) -> list[OutstandingIn]:
    """Return a row for each country, with the numbers of all members of the recall together."""
    soon = (now + timedelta(7)).date().isoformat()
    rows: dict[str, OutstandingIn] = {}
    for each in recalls.outstanding(watched):  # by country, then by day
        before = rows.get(each.country, OutstandingIn(each.country, 0, 0, ""))
        ends_soon = each.numbers if each.last_day <= soon else 0
        rows[each.country] = OutstandingIn(
            each.country, before.numbers + each.numbers, before.week + ends_soon, each.last_day
        )
    return list(rows.values())


class Chart(NamedTuple):
    """One chart and its table."""

    id: str
    title: str
    summary: str  # for screen readers
    names: Sequence[tuple[str, str]]  # CSS class and name of each series
    columns: Sequence["ChartColumn"]
    step: float  # the width of an interval
    top: str  # the value of the highest line, with its unit
    ticks: Sequence[tuple[float, str]]  # times along the x axis
    rows: Sequence[tuple[str, Sequence[str]]]  # of the table: a time, and a value per series


class ChartColumn(NamedTuple):
    """One interval of a chart that has data."""

    x: float
    hint: str  # shown under the pointer
    bars: Sequence[tuple[str, float, float, float, float]]  # CSS class, x, y, width and height


def charts(series: TimeSeries, now: datetime) -> list[Chart]:
    """Return the charts of throughput by verdict and lag, over the last hour and day."""
    verdicts = [("allowed", "allowed"), ("blocked", "blocked")]
    result = []
    for name, words, interval_s, count in _SPANS:
        points = series.points(now, interval_s, count)
        rates = [[point.allowed, point.blocked] for point in points]
        lags = [[point.lag] for point in points]
        result += [
            _chart(f"rate-{name}", f"Prospects per second, {words}", verdicts, "per second", points, rates),
            _chart(
                f"lag-{name}", f"Waiting prospects, {words}", [("lag", "highest")], "prospects", points, lags
            ),
        ]
    return result


def reason_counts(series: TimeSeries, now: datetime) -> list[tuple[str, int, int]]:
    """Return each reason with its prospects in the last hour and day, the day's most frequent first."""
    hour, day = series.by_reason(now, _HOUR_S), series.by_reason(now, _DAY_S)
    return [(reason, hour[reason], count) for reason, count in day.most_common() if count]


def _chart(
    id_: str,
    title: str,
    names: Sequence[tuple[str, str]],
    unit: str,
    points: Sequence[Point],
    values: Sequence[Sequence[float | None]],
) -> Chart:
    known = [sum(each for each in row if each is not None) for row in values if row[0] is not None]
    most = max(known, default=0.0)
    top = _round_up(most)
    step = _WIDTH / len(points)
    columns, rows = [], []
    for place, (point, row) in enumerate(zip(points, values, strict=True)):
        if row[0] is None:
            continue
        x, y = round(place * step, 2), float(_HEIGHT)
        bars, figures = [], ["" if value is None else figure(value) for value in row]
        for (tone, _), value in zip(names, row, strict=True):
            height = 0.0 if value is None else value / top * _HEIGHT
            if height > 0:
                y -= height
                bars.append((tone, x, round(y, 2), round(step * 0.8, 2), round(height, 2)))
        said = ", ".join(f"{value} {name}" for value, (_, name) in zip(figures, names, strict=True))
        columns.append(ChartColumn(x, f"{_clock(point.at)} UTC: {said} ({unit})", bars))
        rows.append((_clock(point.at), figures))
    summary = (
        f"{len(known)} of {len(points)} intervals have data; the highest value is {figure(most)} {unit}"
        if known
        else "No data yet"
    )
    return Chart(
        id=id_,
        title=title,
        summary=summary,
        names=[(tone, f"{name}, {unit}") for tone, name in names],
        columns=columns,
        step=round(step, 2),
        top=f"{figure(top)} {unit}",
        ticks=[(round(place * step, 2), _clock(points[place].at)) for place in (0, len(points) // 2)],
        rows=rows,
    )


def figure(value: float) -> str:
    """Format a value: two decimals below 100, unless it is whole."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.2f}"


def _round_up(value: float) -> float:
    """Round up to 1, 2 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(times * power for times in (1, 2, 5, 10) if times * power >= value * 0.999_999)


def _clock(at: datetime) -> str:
    return at.strftime("%H:%M")
