"""How far a sweep is: one line in the terminal, and a page that shows every run while they run."""

import contextlib
import html
import json
import os
import sys
import time
from collections.abc import Collection
from pathlib import Path

from .grid import PlannedRun

PROGRESS_PAGE = "progress.html"
PAGE_EVERY = 5.0  # seconds


class Followed:
    """A ledger that is being written: `rounds` holds labels and test accuracy of each, read as they come."""

    def __init__(self, path: Path):
        self.path, self._read = path, 0
        self.rounds: list[tuple[int, float | None]] = []

    def look(self) -> int:
        """Read what is new; returns the number of rounds. What is wrong with a ledger is for others to tell."""
        with contextlib.suppress(OSError):
            with open(self.path, "rb") as file:
                if file.seek(0, os.SEEK_END) < self._read:  # made anew
                    self.rounds, self._read = [], 0
                file.seek(self._read)
                whole = file.read().rpartition(b"\n")[0]
            for line in whole.splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                    record = json.loads(line)
                    self.rounds.append((record["n_labels"], record["metrics"].get("test_accuracy")))
            self._read += len(whole) + bool(whole)
            return len(self.rounds)
        self.rounds, self._read = [], 0
        return 0


class Progress:
    """One line about the sweep, rewritten in place on a terminal, now and then elsewhere; and `progress.html`.

    Args:
        runs: all runs of the sweep. todo: those that are not finished yet.
    """

    def __init__(self, folder: Path, runs: list[PlannedRun], todo: list[PlannedRun]):
        self.folder, self.runs, self.todo = folder, runs, todo
        self.ledgers = {run.name: Followed(folder / f"{run.name}.jsonl") for run in runs}
        self.start, self.rounds_at_start = time.monotonic(), self._rounds(todo)
        self.in_place = sys.stdout.isatty()
        self.last_time, self.last_share, self.last_page = -1e9, 0.0, -1e9
        self.state: tuple[Collection[str], Collection[str], Collection[str]] = ((), (), ())

    def _rounds(self, runs) -> int:
        return sum(self.ledgers[run.name].look() for run in runs)

    def show(self, pending: Collection[str], running: Collection[str], failed: Collection[str]) -> None:
        """Say where the sweep is, if it is time to: names of the runs that have not ended, that run, and that failed."""
        self.state = pending, running, failed
        elapsed, share = time.monotonic() - self.start, 1 - len(pending) / len(self.todo)
        if elapsed - self.last_page >= PAGE_EVERY:
            self.last_page = elapsed
            self._write_page(ended=False)
        due = 1 if self.in_place else 30
        if elapsed - self.last_time < due and not (share > self.last_share + 0.1 or (share == 1 > self.last_share)):
            return
        self.last_time, self.last_share = elapsed, share
        text = self._line(elapsed)
        print(f"\r{text}\033[K" if self.in_place else text, end="" if self.in_place else "\n", flush=True)

    def _line(self, elapsed: float) -> str:
        pending, running, failed = self.state
        done, n = len(self.runs) - len(pending) - len(failed), len(self.runs)
        text = f"done {done}  failed {len(failed)}  running {len(running)}  of {n} runs   {_clock(elapsed)} elapsed"
        # Rounds, not runs, because the first run of a long sweep may take hours.
        left = [run for run in self.todo if run.name in pending]
        rounds = self._rounds(self.todo) - self.rounds_at_start
        to_do = sum(run.config.n_rounds + 1 for run in left) - self._rounds(left)
        return text + (f", about {_clock(elapsed / rounds * to_do)} left" if rounds and to_do else "")

    def close(self) -> None:
        """Say that this is the end, whatever it was: the page does not load itself again any more."""
        self._write_page(ended=True)
        if self.in_place:
            print(flush=True)

    def _write_page(self, ended: bool) -> None:
        """A page is a convenience: a full disk is told by those who have something to lose."""
        pending, running, failed = self.state
        line = self._line(time.monotonic() - self.start)
        self._rounds(self.runs)
        rows = []
        for run in self.runs:
            name = run.name
            states = {"failed": name in failed, "running": name in running and not ended, "waiting": name in pending}
            rows.append(_row(run, self.ledgers[name].rounds, next((s for s in states if states[s]), "finished")))
        with contextlib.suppress(OSError):
            (self.folder / f".{PROGRESS_PAGE}").write_text(_page(self.folder.name, line, rows, ended), encoding="utf-8")
            os.replace(self.folder / f".{PROGRESS_PAGE}", self.folder / PROGRESS_PAGE)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: #222; background: #fff }
table { border-collapse: collapse } td, th { padding: 2px 12px 2px 0; text-align: left; vertical-align: middle }
p { white-space: pre-wrap }
td.number { text-align: right; font-variant-numeric: tabular-nums }
tr.running { font-weight: 600 } tr.waiting { color: #999 } tr.failed { color: #b00020 }
polyline { fill: none; stroke: currentColor; stroke-width: 1.5 } circle { fill: currentColor }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #1a1a1a } tr.failed { color: #ff7b7b } }
"""


def _page(name: str, line: str, rows: list[str], ended: bool) -> str:
    again = "" if ended else f'<meta http-equiv="refresh" content="{PAGE_EVERY:g}">'
    moment = f"{'Ended' if ended else 'As of'} {time.strftime('%Y-%m-%d %H:%M:%S')}"
    heads = "".join(f"<th>{head}</th>" for head in ("run", "", "rounds", "labels", "test accuracy", "round by round"))
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">{again}<title>{html.escape(name)}</title>'
        f"<style>{STYLE}</style></head><body><h1>{html.escape(name)}</h1><p>{html.escape(line)}<br>{moment}</p>"
        f"<table><tr>{heads}</tr>{''.join(rows)}</table></body></html>\n"
    )


def _row(run: PlannedRun, rounds: list[tuple], state: str) -> str:
    labels, accuracy = rounds[-1] if rounds else (None, None)
    cells = [f"{len(rounds)} of {run.config.n_rounds + 1}", f"{labels:,}" if labels is not None else ""]
    cells.append(f"{accuracy:.1%}" if accuracy is not None else "")
    numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
    curve = _curve(rounds, run.config.n_rounds)
    return f'<tr class="{state}"><td>{html.escape(run.name)}</td><td>{state}</td>{numbers}<td>{curve}</td></tr>'


def _curve(rounds: list[tuple], n_rounds: int, width: int = 160, height: int = 24) -> str:
    """Test accuracy, 0 to 100%, against the rounds, as wide as they are far; the numbers appear under the mouse."""
    points = [(labels, accuracy) for labels, accuracy in rounds if accuracy is not None]
    if not points:
        return ""
    step = (width - 4) / max(1, n_rounds)
    places = [f"{2 + i * step:.1f},{(height - 2) - (height - 4) * accuracy:.1f}" for i, (_, accuracy) in enumerate(points)]
    x, y = places[-1].split(",")
    said = ", ".join(f"{labels:,} labels: {accuracy:.1%}" for labels, accuracy in points)
    return (
        f'<svg width="{width}" height="{height}" role="img"><title>{said}</title>'
        f'<polyline points="{" ".join(places)}"/><circle cx="{x}" cy="{y}" r="2"/></svg>'
    )
