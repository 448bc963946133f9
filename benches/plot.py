#!/usr/bin/env python3
"""Shows what `smol-transports-bench grow FILE` has written: plot.py FILE.json OUT.svg [TABLE.txt]

The drawing has three panels: rate, processor time, and memory, each by the number of connections. It takes the colours
of the page that it stands in. The table has what can be carried over to other machines: processor time as ratios to the
first server, and memory. Needs nothing but Python's standard library.
"""

import json
import math
import sys

WIDTH, HEIGHT, LEFT, TOP, GAP = 176, 190, 46, 36, 68
ROW = 20
# They can be told apart on light and on dark ground.
COLORS = {
    "ours": "#d0392b", "ours-local": "#e0913a", "tokio-ct": "#2f81c7", "epoll": "#8a9499",
    "smol-global": "#2a9d5c", "smol-local": "#7fbf4d", "uvloop": "#9a5bc0", "asyncio": "#c2a01a",
}
OTHER = "#777777"


def ticks(low, high):
    """The powers of ten within, and more for each if there are few."""
    tens = [10.0**n for n in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    return [t * f for t in tens for f in ((1,) if len(tens) > 3 else (1, 2, 5)) if low <= t * f <= high]


def short(value):
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g}{unit}"
    return f"{value:g}"


def size(count):
    return f"{count:.0f} B" if count < 1024 else f"{count / 1024:.1f} KiB"


def text(x, y, content, anchor="start", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor"{extra}>{content}</text>'


class Panel:
    """One diagram, with logarithmic axes."""

    def __init__(self, column, title, xs, rows):
        self.left = LEFT + column * (WIDTH + GAP)
        self.title, self.xs, self.rows = title, xs, rows
        values = [y for _, ys in rows for y in ys if y > 0]
        self.x_range = (min(xs), max(xs))
        self.y_range = (min(values) / 1.3, max(values) * 1.3)

    def place(self, value, span):
        low, high = (math.log10(v) for v in span)
        return (math.log10(value) - low) / (high - low)

    def x(self, value):
        return self.left + self.place(value, self.x_range) * WIDTH

    def y(self, value):
        return TOP + (1 - self.place(value, self.y_range)) * HEIGHT

    def frame(self):
        right, bottom = self.left + WIDTH, TOP + HEIGHT
        yield text(self.left, TOP - 12, self.title, extra=' font-weight="600"')
        yield (f'<rect x="{self.left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" '
               'stroke="currentColor" stroke-opacity="0.5"/>')
        for tick in ticks(*self.y_range):
            y = self.y(tick)
            yield f'<path d="M{self.left} {y:.1f}H{right}" stroke="currentColor" stroke-opacity="0.15"/>'
            yield text(self.left - 5, y + 4, short(tick), "end")
        for value in self.xs:
            yield text(self.x(value), bottom + 16, short(value), "middle")

    def lines(self):
        # Ours last, so that it lies on top.
        for name, ys in sorted(self.rows, key=lambda row: row[0] == "ours"):
            color, points = COLORS.get(name, OTHER), [(self.x(x), self.y(y)) for x, y in zip(self.xs, ys) if y > 0]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            width = 2.6 if name == "ours" else 1.4
            yield f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}"/>'
            for x, y in points:
                yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2" fill="{color}"/>'


def legend(names, y):
    step = (3 * WIDTH + 2 * GAP) / min(len(names), 4)
    for index, name in enumerate(names):
        x, row = LEFT + index % 4 * step, y + index // 4 * ROW
        yield f'<path d="M{x:.1f} {row - 4}h22" stroke="{COLORS.get(name, OTHER)}" stroke-width="3"/>'
        yield text(x + 28, row, name)


def drawing(data):
    servers = data["servers"]
    panels = [
        ("messages per second", data["busy"], "rate"),
        ("CPU per message, µs", data["busy"], "cpu"),
        ("bytes per idle connection", data["idle"], "memory"),
    ]
    names = [server["name"] for server in servers]
    below = TOP + HEIGHT + 46
    width, height = LEFT + 3 * WIDTH + 2 * GAP + 20, below + (len(names) + 3) // 4 * ROW
    yield (f'<svg class="drawing" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
           'aria-labelledby="growth-title" font-family="sans-serif" font-size="12">')
    yield '<title id="growth-title">Rate, processor time and memory by the number of connections</title>'
    for column, (title, xs, key) in enumerate(panels):
        panel = Panel(column, title, xs, [(server["name"], server[key]) for server in servers])
        yield from panel.frame()
        yield from panel.lines()
    yield from legend(names, below)
    yield "</svg>"


def table(data):
    servers, busy = data["servers"], data["busy"]
    yield "| server | " + " | ".join(f"CPU, {short(count)} busy" for count in busy) + " | memory of an idle one |"
    yield "|---|" + "---|" * (len(busy) + 1)
    for server in servers:
        ratios = [cpu / base for cpu, base in zip(server["cpu"], servers[0]["cpu"])]
        cells = [f"{ratio:.2f}" for ratio in ratios] + [size(server["memory"][-1])]
        yield f"| `{server['name']}` | " + " | ".join(cells) + " |"
    yield ""
    yield f"Measured on: {data['machine']}."


def main(source, *targets):
    with open(source, encoding="utf-8") as file:
        data = json.load(file)
    for target, show in zip(targets, (drawing, table)):
        with open(target, "w", encoding="utf-8") as file:
            file.write("\n".join(show(data)) + "\n")


main(*sys.argv[1:])
