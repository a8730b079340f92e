"""The panes: tables and a tree that change in place, so that cursor and scrolling stay where a person put them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.text import Text
from textual.widgets import DataTable, Tree
from textual.widgets.tree import TreeNode

from prefect_acms.canonical.machines import MACHINES
from prefect_acms.deployments.records import Snapshot
from prefect_acms.deployments.top.words import Row, task_label, workstream_label
from prefect_acms.tasks.reports.layout import layers_of
from prefect_acms.tasks.summary_model import TaskRecord

MOST_OPEN = 100
"""With more tasks than that, workstreams that have ended are folded."""


class Table(DataTable[Text]):
    """A table of rows with keys."""

    def __init__(self, *head: str, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, cursor_type="row", zebra_stripes=False)
        self._head = head
        self._shown: dict[str, tuple[Text, ...]] = {}

    def on_mount(self) -> None:
        """Write the head."""
        for name in self._head:
            self.add_column(name, key=name)

    @property
    def chosen(self) -> str | None:
        """The key of the row under the cursor."""
        keys = list(self._shown)
        return keys[self.cursor_row] if 0 <= self.cursor_row < len(keys) else None

    def show(self, rows: Sequence[Row]) -> None:
        """Show these rows; only what has changed is written anew."""
        wanted = dict(rows)
        if list(wanted) != list(self._shown):
            self._rewrite(wanted)
        else:
            for key, cells in wanted.items():
                for name, before, cell in zip(self._head, self._shown[key], cells, strict=True):
                    if before != cell or before.spans != cell.spans:
                        self.update_cell(key, name, cell, update_width=True)
        self._shown = wanted

    def _rewrite(self, wanted: dict[str, tuple[Text, ...]]) -> None:
        chosen = self.chosen
        at = list(wanted).index(chosen) if chosen in wanted else 0
        # nobody has moved the cursor
        with self.prevent(DataTable.RowHighlighted):
            self.clear()
            for key, cells in wanted.items():
                self.add_row(*cells, key=key)
            self.move_cursor(row=at)


class Dag(Tree[str]):
    """The workstreams of a run and their tasks, each after those that it waits for."""

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__("run", id=id)
        self.show_root = False
        self.guide_depth = 2
        self._places: dict[str, TreeNode[str]] = {}
        self._labels: dict[str, Text] = {}

    def show(self, snapshot: Snapshot | None, now: datetime) -> None:
        """Show where the run stands; only what has changed is written anew."""
        labels, members = _labels(snapshot, now), _members(snapshot)
        if list(labels) != list(self._labels):
            self._rebuild(members, labels, _ended(snapshot))
        else:
            for name, label in labels.items():
                if label != self._labels[name] or label.spans != self._labels[name].spans:
                    self._places[name].set_label(label)
        self._labels = labels

    def _rebuild(self, members: dict[str, list[str]], labels: dict[str, Text], ended: frozenset[str]) -> None:
        chosen = self.cursor_node.data if self.cursor_node else None
        self.clear()
        self._places = {}
        is_large = len(labels) > MOST_OPEN
        for workstream, tasks in members.items():
            node = self.root.add(labels[workstream], data=workstream, expand=not (is_large and workstream in ended))
            self._places[workstream] = node
            for task in tasks:
                self._places[task] = node.add_leaf(labels[task], data=task)
        if chosen in self._places:
            self.call_after_refresh(self.move_cursor, self._places[chosen])


def _members(snapshot: Snapshot | None) -> dict[str, list[str]]:
    """The tasks of each workstream, both in an order in which they can be done."""
    if snapshot is None:
        return {}
    streams = {row.id: row for row in snapshot.workstreams}
    order = layers_of(list(streams), [(one, row.id) for row in streams.values() for one in row.depends_on])
    tasks = _tasks(snapshot)
    edges = [(one, task.id) for task in tasks.values() for one in (*task.depends_on, *task.comes_after)]
    layer = layers_of(list(tasks), [edge for edge in edges if edge[0] in tasks])
    members: dict[str, list[str]] = {name: [] for name in sorted(streams, key=lambda name: (order[name], name))}
    for name in sorted(tasks, key=lambda name: (layer[name], name)):
        members[tasks[name].workstream_id].append(name)
    return members


def _tasks(snapshot: Snapshot) -> dict[str, TaskRecord]:
    return {task.id: task for task in snapshot.tasks}


def _labels(snapshot: Snapshot | None, now: datetime) -> dict[str, Text]:
    if snapshot is None:
        return {}
    names, tasks = {row.id: row.key for row in snapshot.workstreams}, _tasks(snapshot)
    labels = {row.id: workstream_label(row, names) for row in snapshot.workstreams}
    return labels | {task.id: task_label(task, tasks, now) for task in snapshot.tasks}


def _ended(snapshot: Snapshot | None) -> frozenset[str]:
    terminal = MACHINES["workstream"].terminal
    return frozenset(row.id for row in (snapshot.workstreams if snapshot else ()) if row.state in terminal)
