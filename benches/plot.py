#!/usr/bin/env python3
"""Draws what `smol-transports-bench grow FILE` has written: plot.py FILE.json OUT.svg

Three panels: rate, processor time, and memory, each by the number of connections. The standard library only.
"""

import json
import math
import sys

WIDTH, HEIGHT, LEFT, TOP, GAP, LEGEND = 300, 220, 62, 46, 78, 150
COLORS = {
    "ours": "#c0392b", "ours-local": "#e59866", "tokio-ct": "#2471a3", "epoll": "#7f8c8d",
    "smol-global": "#1e8449", "smol-local": "#82c99a", "uvloop": "#7d3c98", "asyncio": "#b7950b",
}


def ticks(low, high):
    """The powers of ten within, and three for each if there are few."""
    tens = [10.0**n for n in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    return [t * f for t in tens for f in ((1,) if len(tens) > 3 else (1, 2, 5)) if low <= t * f <= high]


def short(value):
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g}{unit}"
    return f"{value:g}"


class Panel:
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

    def draw(self):
        right, bottom = self.left + WIDTH, TOP + HEIGHT
        yield f'<text x="{self.left}" y="{TOP - 12}" font-weight="bold">{self.title}</text>'
        yield f'<rect x="{self.left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>'
        for tick in ticks(*self.y_range):
            y = self.y(tick)
            yield f'<path d="M{self.left} {y:.1f}H{right}" stroke="#ddd"/>'
            yield f'<text x="{self.left - 5}" y="{y + 4:.1f}" text-anchor="end">{short(tick)}</text>'
        for value in self.xs:
            yield f'<text x="{self.x(value):.1f}" y="{bottom + 16}" text-anchor="middle">{short(value)}</text>'
        for name, ys in self.rows:
            points = [(self.x(x), self.y(y)) for x, y in zip(self.xs, ys) if y > 0]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            width = 2.5 if name == "ours" else 1.3
            yield f'<polyline points="{path}" fill="none" stroke="{COLORS.get(name, "#000")}" stroke-width="{width}"/>'
            for x, y in points:
                yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2" fill="{COLORS.get(name, "#000")}"/>'


def legend(names, left):
    for index, name in enumerate(names):
        y = TOP + 14 + index * 18
        yield f'<path d="M{left} {y - 4}h18" stroke="{COLORS.get(name, "#000")}" stroke-width="3"/>'
        yield f'<text x="{left + 24}" y="{y}">{name}</text>'


def main(source, target):
    with open(source, encoding="utf-8") as file:
        data = json.load(file)
    servers = data["servers"]
    panels = [
        ("messages per second", data["busy"], "rate"),
        ("CPU per message, µs", data["busy"], "cpu"),
        ("bytes per idle connection", data["idle"], "memory"),
    ]
    width = LEFT + len(panels) * (WIDTH + GAP) + LEGEND
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {TOP + HEIGHT + 56}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{TOP + HEIGHT + 56}" fill="#fff"/>',
    ]
    for column, (title, xs, key) in enumerate(panels):
        rows = [(server["name"], server[key]) for server in servers]
        lines.extend(Panel(column, title, xs, rows).draw())
    lines.extend(legend([server["name"] for server in servers], LEFT + len(panels) * (WIDTH + GAP) - 40))
    lines.append(f'<text x="{LEFT}" y="{TOP + HEIGHT + 44}" fill="#666">by the number of connections; 64-byte echo '
                 f'over TCP, server and load on one core; {data["machine"]}</text></svg>')
    with open(target, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


main(*sys.argv[1:])
