"""What users see, as pictures for the README: `make demo` in a terminal, the report and the page in a real Chromium.

All of it comes from real runs; terminal and page show the samples that ship with the package. Needs playwright and a Chromium.

    python benchmarks/screens.py             all three
    python benchmarks/screens.py terminal    one of them: terminal, report, page
"""

import fcntl
import io
import os
import pty
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from record import SHARED

RESULTS = Path(__file__).with_name("results")
WIDTH, MOST_LINES = 128, 42
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def terminal(file: Path) -> None:
    """The first lines of what `make demo` prints, and the last ones, as an SVG that asks nothing from elsewhere."""
    from rich._export_format import CONSOLE_SVG_FORMAT
    from rich.console import Console
    from rich.text import Text

    lines = printed([sys.executable, "-m", "textsiam", "duplicates", "--sample"])
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 8], f"\x1b[2m⋮ {len(lines) - MOST_LINES + 1} lines\x1b[0m", *lines[-7:]]
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print("[bold]$ make demo[/bold]", highlight=False)
    for line in lines:
        console.print(Text.from_ansi(line), highlight=False)
    plain = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    file.write_text(console.export_svg(title="textsiam", code_format=plain, unique_id="demo"), encoding="utf-8")


def printed(command: list[str]) -> list[str]:
    """What a command leaves on a real terminal, line by line, empty ones left out: what it wiped is gone."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
    process = subprocess.Popen(command, env=os.environ | {"TERM": "xterm-256color"}, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the terminal is closed: the command has ended
        while part := os.read(ours, 65_536):
            shown += part
    assert process.wait() == 0
    lines, row = [""], 0
    for piece in re.findall(r"\x1b\[\??\d*[A-Zlh]|\n|[^\n\x1b]+|\x1b\[[\d;]*m", shown.decode().replace("\r", "")):
        if piece == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif piece.endswith("A"):
            row -= int(piece[2:-1] or 1)
        elif piece.endswith("K"):
            lines[row] = ""
        elif not piece.endswith(("l", "h")) or not piece.startswith("\x1b"):
            lines[row] += piece
    return [line for line in lines if line.strip()]


def report(file: Path) -> None:
    """The first screen of `textsiam evaluate --report`, on real question pairs; no text is on it."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "report.html"
        _run("evaluate", SHARED / "qqp_pairs.parquet", "--split", "dev", "--report", made)
        with shown(made.as_uri(), height=1_100) as page:
            page.screenshot(path=file)


def page(file: Path) -> None:
    """Duplicates of the samples on the page of `textsiam serve`, one pair explained."""
    from textsiam.samples import QUESTIONS

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serving = subprocess.Popen([sys.executable, "-m", "textsiam", "serve", "--port", str(port)], stdout=-3, stderr=-3)
    try:
        _await(f"http://127.0.0.1:{port}/ready")
        with shown(f"http://127.0.0.1:{port}", height=1_000) as page:
            page.set_input_files("#file", QUESTIONS)
            page.click("#go")
            page.wait_for_selector("#result:not(.hidden)")
            page.get_by_role("button", name="Why").first.click()
            page.wait_for_timeout(500)
            page.screenshot(path=file)
    finally:
        serving.terminate()
        serving.wait(30)


@contextmanager
def shown(address: str, height: int) -> Iterator:
    """A page in a Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        made = browser.new_page(viewport={"width": 1_100, "height": height})
        made.goto(address)
        yield made
        browser.close()


def _run(*arguments) -> None:
    subprocess.run([sys.executable, "-m", "textsiam", *map(str, arguments)], check=True, capture_output=True)


def _await(address: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(address).close()  # noqa: S310  our own
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(address)


PICTURES = {"terminal": (terminal, "demo.svg"), "report": (report, "report.png"), "page": (page, "page.png")}


def main() -> None:
    for name in sys.argv[1:] or PICTURES:
        draw, file = PICTURES[name]
        draw(RESULTS / file)
        print(f"wrote {file}, {(RESULTS / file).stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
