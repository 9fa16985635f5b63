"""`03_inspect_queries`: what a strategy asked for, round by round, and what its network thought of it."""

import threading
from collections.abc import Sequence
from pathlib import Path

import ipywidgets as w

from ..config import file_name, located
from ..results.replay import RecordedRun
from .cards import note
from .controls import button, control, say
from .network_views import DoubtsView, HistoryView, KnowledgeView
from .run_list import RunList
from .views import RoundView, SharesView, View, WhoView

# The titles of the tabs whole, in two lines where the page is narrow.
TABS = """<style>
.widget-tab.al-tabs > .lm-TabBar > .lm-TabBar-content { flex-wrap: wrap; }
.jupyter-widgets.widget-tab.al-tabs > .lm-TabBar .lm-TabBar-tab { flex: 0 0 auto; }
</style>"""


class Inspector(w.VBox):
    """A list of runs, a slider for the round, views of the queries; CSV and PNG files of what is shown.

    Args:
        runs: of `replay.recorded_runs`, at least one.
        exports: the folder of the files.
        recompute: train the networks again, to show what they predicted.
    """

    def __init__(self, runs: Sequence[RecordedRun], exports: str | Path, recompute: bool = True):
        self.runs, self.exports = list(runs), located(exports)
        self._lock, self._quiet = threading.RLock(), True
        self.list = RunList(runs, self._new_run)
        self.title = w.HTML()
        self.round = control(w.IntSlider, "round", "A round of this run", width="96%", max=len(runs[0].asked) - 1)
        self.views: list[View] = [
            RoundView(self._draw, recompute), WhoView(self._draw), SharesView(self._draw),
            KnowledgeView(self._draw), DoubtsView(self._draw), HistoryView(self._draw),
        ]  # fmt: skip
        self.tab = w.Tab([view.box for view in self.views], titles=[view.title for view in self.views])
        self.tab.add_class("al-tabs")
        self.said, self.exported = w.HTML(), w.HTML()
        save = button("Save CSV and PNG", "Write what is shown into two files", self._save)
        super().__init__([self.list, self.title, self.round, self.said, w.HTML(TABS), self.tab, w.HBox([save, self.exported])])
        self.round.observe(lambda _: self._draw(), "value")
        self.tab.observe(lambda _: self._draw(), "selected_index")
        self._chosen = runs[0]
        self._new_run()

    @property
    def run(self) -> RecordedRun:
        """The run that is shown."""
        return self._chosen

    def show(self, run: RecordedRun, number: int) -> None:
        """Open a round of a run."""
        self.list.show(run)
        self.round.value = number

    @property
    def view(self) -> View:
        """The view that is open."""
        return self.views[self.tab.selected_index or 0]

    def _new_run(self):
        self._chosen = run = self.list.value or self._chosen
        with self._lock:
            self._quiet = True
            peers = run.peers(self.runs)
            self.title.value = note(f"Run {self.runs.index(run) + 1} of {len(self.runs)}: {run.title}", bold=True)
            self.round.max = run.asked[-1].round
            self._told(lambda: [view.choose(run, peers) for view in self.views])
            self._quiet = False
        self._draw()

    def _draw(self):
        with self._lock:  # threads that train draw too
            if self._quiet:
                return
            self._quiet = True  # what a view sets while it draws is no wish
            try:
                self._told(lambda: self.view.draw(self.round.value))
            finally:  # the kernel may be interrupted while data are loaded
                self._quiet = False

    def _told(self, act):
        """Do it, and say what is wrong: the data may not be here, or may have changed."""
        self.said.value = ""
        try:
            act()
        except (ValueError, RuntimeError, OSError) as error:
            self.view.clear()
            say(self.said, str(error), error=True)

    def _save(self):
        name = file_name(f"{self.list.ends[self.runs.index(self.run)]}__{self.view.called}")
        try:
            table, figure = self.view.table(), self.view.figure()
            self.exports.mkdir(parents=True, exist_ok=True)
            table.to_csv(self.exports / f"{name}.csv", index=False)
            (self.exports / f"{name}.png").write_bytes(figure)
        except (OSError, ValueError) as error:
            return say(self.exported, str(error), error=True)
        say(self.exported, f"Saved {name}.csv and .png in {'/'.join(self.exports.parts[-3:])}")
