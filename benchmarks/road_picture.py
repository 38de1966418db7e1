"""The one picture of the road: what a pair of texts becomes on its way to a decision, and in which folder.

python benchmarks/road_picture.py
"""

from pathlib import Path

WIDTH, HEIGHT = 980, 268
INK, SOFT, FIRST, GO, WAIT, STOP = "#1b1b22", "#5b6673", "#0b6e4f", "#15803d", "#beb493", "#b22319"

# Where it stands, how wide, what it is called, what happens there.
STATIONS = (
    (16, 168, "data", ("two texts", "checked, counted,", "parted without leaks")),
    (212, 168, "encoding", ("one encoder reads both,", "mean of the tokens:", "two vectors")),
    (408, 168, "scoring", ("cosine", "→ probability", "→ words that matter")),
    (604, 168, "evaluation", ("a threshold with a proof,", "an audit of a join,", "or: none exists")),
)
BELOW = (
    (16, 168, "training", ("pairs → better weights",)),
    (212, 168, "matching", ("all pairs ≥ threshold",)),
    (408, 168, "indexing", ("the same as they arrive",)),
    (604, 168, "distributing", ("the same in tasks",)),
)
DECISIONS = (("accept", GO, "#ffffff", 34), ("review", WAIT, INK, 82), ("reject", STOP, "#ffffff", 130))


def main() -> None:
    parts = [_box(*of, y=34, height=104) for of in STATIONS] + [_box(*of, y=196, height=56) for of in BELOW]
    parts += [_arrow(184, 86, 208, 86), _arrow(380, 86, 404, 86), _arrow(576, 86, 600, 86)]
    parts += [_arrow(772, 86, 820, y + 18) for _, _, _, y in DECISIONS]
    parts += [_arrow(100, 138, 100, 192), _arrow(184, 222, 238, 142), _arrow(296, 138, 296, 192)]
    parts += [_arrow(380, 224, 404, 224), _arrow(576, 224, 600, 224), _arrow(688, 196, 688, 142)]
    parts += [_decision(*of) for of in DECISIONS]
    parts += [
        _text(
            16,
            20,
            "A folder a station; interfaces to all of them: command line, scikit-learn, HTTP and a page",
            SOFT,
            12,
        )
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif">'
    )
    tip = f'<path d="M0,0 L8,4 L0,8 z" fill="{SOFT}"/>'
    marker = (
        f'<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">{tip}</marker></defs>'
    )
    paper = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
    file = Path(__file__).with_name("results") / "road.svg"
    file.write_text("\n".join([head, marker, paper, *parts, "</svg>\n"]), encoding="utf-8")


def _box(x, width, station, lines, *, y, height) -> str:
    frame = f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="#f4f6f8" stroke="#c9d1d9"/>'
    told = [_text(x + 10, y + 42 + 19 * number, line, INK, 12) for number, line in enumerate(lines)]
    return "\n".join([frame, _text(x + 10, y + 21, station, FIRST, 14, bold=True), *told])


def _decision(name, fill, ink, y) -> str:
    frame = f'<rect x="824" y="{y}" width="140" height="36" rx="18" fill="{fill}"/>'
    return f'{frame}\n<text x="894" y="{y + 23}" text-anchor="middle" font-size="15" fill="{ink}">{name}</text>'


def _arrow(x1, y1, x2, y2) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{SOFT}" stroke-width="1.5" marker-end="url(#tip)"/>'


def _text(x, y, told, fill, size, *, bold=False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x}" y="{y}" font-size="{size}"{weight} fill="{fill}">{told}</text>'


if __name__ == "__main__":
    main()
