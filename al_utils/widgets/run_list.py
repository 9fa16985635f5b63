"""A list of runs with a search."""

from collections import Counter
from collections.abc import Callable, Sequence

import ipywidgets as w

from ..results.replay import RecordedRun
from ..words import ends
from .cards import note
from .controls import control

ROWS = 6


class RunList(w.VBox):
    """Runs by their titles; a search for words, in any order, leaves those that have them all.

    Args:
        chosen: called when another run is chosen.
    """

    def __init__(self, runs: Sequence[RecordedRun], chosen: Callable[[], None]):
        self.runs = list(runs)
        self._titles = Counter(run.title for run in runs)
        self.ends = ends([run.path.with_suffix("") for run in runs])  # what tells them apart, in the order of the runs
        self.search = control(w.Text, "search", "Words of a run, such as: bald gaussian seed 2", width="96%",
                              placeholder="words of a run, such as: bald gaussian seed 2", continuous_update=True)  # fmt: skip
        self.list = control(w.Select, "run", "A ledger", width="96%", rows=min(ROWS, max(2, len(runs))), options=self._found())
        self.list.value = self.runs[0]
        self.said = w.HTML(layout=w.Layout(margin="0 0 0 158px"))
        super().__init__([self.search, self.list, self.said] if len(runs) > 1 else [self.list, self.said])
        self.search.observe(lambda _: self._filter(), "value")
        self._quiet = False
        self.list.observe(lambda change: self._choose(change.new), "value")
        self._chosen = chosen
        self._say()

    @property
    def value(self) -> RecordedRun | None:
        """The chosen run, if one is."""
        return self.list.value

    def show(self, run: RecordedRun) -> None:
        """Choose a run, whatever was searched for."""
        self.search.value = ""
        self.list.value = run

    def _choose(self, run):
        if run is not None and not self._quiet:
            self._chosen()

    def _found(self):
        words = self.search.value.lower().split()
        titles = [(f"{r.title} ({end})" if self._titles[r.title] > 1 else r.title, r) for r, end in zip(self.runs, self.ends)]
        return [(title, r) for title, r in titles if all(word in f"{title} {r.path.stem}".lower() for word in words)]

    def _filter(self):
        found, kept = self._found(), self.list.value
        if found:
            self._quiet = True  # a new list chooses its first run, which nobody has asked for
            self.list.options = found
            self.list.value = kept if kept in [run for _, run in found] else None
            self._quiet = False
        self._say(len(found))

    def _say(self, n: int | None = None):
        n = len(self.runs) if n is None else n
        none = f"No run has all of these words; there are {len(self.runs)}."
        self.said.value = note(f"{n} of {len(self.runs)} runs" if n else none)
