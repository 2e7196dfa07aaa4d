"""The results as a picture: one bar a contender, CPU microseconds a record. Figures in, SVG out; light or dark as the
reader's system is. The scale is linear, so that twice the length is twice the cost; bars that would leave no room for the
short ones are cut, with a gap to show it, and their figures stand beside them like all others.
"""

from typing import Any
from xml.sax.saxutils import escape

from bench.harness.contender_commands import BARE, WORKER
from bench.throughput.report import significant

WIDTH = 860
_LEFT, _RIGHT, _TOP, _ROW, _BAR = 205, 265, 72, 32, 20
_COLUMNS = (("whole run", 190), ("2nd half", 105), ("x worker", 20))  # right edges, from the right
_LONGEST = 10.0  # times the worker's cost; longer bars are cut
_BEYOND = 24  # a cut bar runs over the end of the scale
_LEGEND = (
    "full colour, and x worker: the second half of the run, JIT warm; pale: what the whole run cost more"
)
_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500)

_STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #24292f; }
.title { font-size: 15px; font-weight: 600; }
.quiet { fill: #57606a; font-size: 11.5px; }
.ground { fill: #ffffff; stroke: #d0d7de; }
.line { stroke: #d8dee4; }
.gap { fill: #ffffff; }
.own { fill: #0969da; } .bare { fill: #8c959f; } .peer { fill: #bc4c00; }
.whole { fill-opacity: 0.35; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .quiet { fill: #9198a1; }
  .ground { fill: #0d1117; stroke: #3d444d; }
  .line { stroke: #2b3138; }
  .gap { fill: #0d1117; }
  .own { fill: #4493f8; } .bare { fill: #9198a1; } .peer { fill: #db6d28; }
}"""


def draw(summary: dict[str, dict[str, Any]], caption: str) -> str:
    """The chart of a summary as `report.summary` gives it; the caption may have several lines."""
    end = _end({name: found["cpu_us_a_record"]["median"] for name, found in summary.items()})
    bottom = _TOP + _ROW * len(summary)
    notes = caption.splitlines()
    height = bottom + 44 + 16 * len(notes)
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title">',
        '<title id="title">CPU microseconds a record, by contender</title>',
        f"<style>{_STYLE}</style>",
        f'<rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
        _text(20, 28, "CPU time a record, µs (user+sys of the whole process)", "title"),
        _text(20, 46, _LEGEND, "quiet"),
        *(_text(WIDTH - x, _TOP - 10, name, "quiet", "end") for name, x in _COLUMNS),
        *_axis(end, bottom),
    ]
    for at, (name, found) in enumerate(summary.items()):
        lines += _row(_TOP + _ROW * at, name, found, end)
    lines += (_text(20, bottom + 42 + 16 * at, note, "quiet") for at, note in enumerate(notes))
    return "\n".join([*lines, "</svg>\n"])


def _end(costs: dict[str, float]) -> float:
    """Where the scale ends: with the longest bar that is not cut."""
    least = min(costs.values())
    longest = costs.get(WORKER, least) * _LONGEST
    return max(cost for cost in costs.values() if cost <= longest or cost == least)


def _axis(end: float, bottom: int) -> list[str]:
    step = next((each for each in _STEPS if end / each <= 8), end)
    lines = []
    for tick in range(int(end // step) + 1):
        x = _x(tick * step, end)
        lines.append(f'<line class="line" x1="{x}" x2="{x}" y1="{_TOP - 4}" y2="{bottom}"/>')
        lines.append(_text(x, bottom + 16, f"{tick * step:g}", "quiet", "middle"))
    return lines


def _x(cost: float, end: float) -> float:
    return round(_LEFT + cost / end * (WIDTH - _LEFT - _RIGHT - _BEYOND), 1)


def _row(y: int, name: str, found: dict[str, Any], end: float) -> list[str]:
    whole, late = found["cpu_us_a_record"]["median"], _median(found, "cpu_us_a_record_late")
    ratio = _median(found, "cpu_ratio_late_to_worker")
    colour = "own" if name.startswith("worker") else "bare" if name == BARE else "peer"
    lines = [_text(_LEFT - 12, y + 15, name, anchor="end")]
    for cost, kind in ((whole, "whole"), (whole if late is None else late, "late")):
        width = (_x(cost, end) if cost <= end else _x(end, end) + _BEYOND) - _LEFT
        lines.append(
            f'<rect class="{colour} {kind}" x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}"/>'
        )
    if max(whole, late or 0) > end:
        x, low = _x(end, end) + 6, y + _BAR + 1
        lines.append(
            f'<polygon class="gap" points="{x + 6},{y - 1} {x + 13},{y - 1} {x + 7},{low} {x},{low}"/>'
        )
    told = (
        significant(whole),
        "-" if late is None else significant(late),
        "-" if ratio is None else significant(ratio),
    )
    cells = zip(told, _COLUMNS, strict=True)
    return lines + [_text(WIDTH - x, y + 15, text, anchor="end") for text, (_, x) in cells]


def _median(found: dict[str, Any], key: str) -> float | None:
    spread = found.get(key)
    return float(spread["median"]) if spread else None


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "") -> str:
    named = (f' class="{kind}"' if kind else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return f'<text{named} x="{x}" y="{y}">{escape(text)}</text>'
