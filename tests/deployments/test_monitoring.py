"""Alert rules and dashboard: they ask for what is served, fire when they should, and lead to a page that helps."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import Acms

from prefect_acms.canonical.machines import MACHINES
from prefect_acms.deployments.commands.metrics import shipped
from prefect_acms.tasks.metrics import MEASURES

TOP = Path(__file__).parents[2]
RULES = TOP / "deployments" / "monitoring" / "acms.rules.yml"
CASES = Path(__file__).with_name("acms.rules.test.yml")
SERVED = {sample: measure for measure in MEASURES for sample in measure.samples}
FROM_PROMETHEUS = {"job", "instance", "le"}
PROMTOOL = shutil.which("promtool")
WORDS = {"by", "or", "vector", "offset"}


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(shipped("acms.rules.yml"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(shipped("grafana.json"))["panels"] if panel["type"] != "row"]


def queries() -> Iterator[str]:
    yield from (alert["expr"] for alert in alerts())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])
    for variable in json.loads(shipped("grafana.json"))["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((\w+), \w+\)", variable["query"]["query"])
            assert found is not None
            yield found[1]


@pytest.mark.parametrize("query", sorted(set(queries())))
def test_every_query_asks_for_what_is_served(query: str) -> None:
    """Names, labels, and the values of those labels whose values the lifecycles know."""
    asked = re.findall(
        r"\b([a-z_]+)\b(?:\{(.*?)\})?(?!\s*\()", re.sub(r"\b(by|without) \(.*?\)|\[.*?\]|\b\d\w*", "", query)
    )
    asked = [(name, matchers) for name, matchers in asked if name not in WORDS]
    assert asked
    for name, matchers in asked:
        measure = SERVED[name]
        for label, pattern in re.findall(r'(\w+)[=!~]+"(.*?)"', matchers):
            assert label in {*measure.labels, *FROM_PROMETHEUS}
            known = legal(label)
            assert not known or set(pattern.split("|")) <= known, (name, label, pattern)
    for names in re.findall(r"\bby \((.*?)\)", query):
        labels = {label for name, _ in asked for label in SERVED[name].labels} | FROM_PROMETHEUS
        assert set(names.split(", ")) <= labels


def legal(label: str) -> set[str]:
    """The values that a label can have, as far as the lifecycles say so."""
    if label == "entity":
        return set(MACHINES)
    if label in {"state", "from", "to"}:
        return {str(state) for machine in MACHINES.values() for state in machine.states}
    return set()


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_every_alert_says_what_is_wrong_and_where_help_is(alert: dict[str, Any]) -> None:
    """Two sentences, a severity, and a heading of the page of operations."""
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    assert alert["labels"]["severity"] in {"critical", "warning"}
    page, anchor = alert["annotations"]["runbook_url"].split("#")
    headings = re.findall(r"^#+ (.+)$", (TOP / page).read_text(), re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-").replace("'", "") for heading in headings}


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    """A rule that nobody has seen fire may never do."""
    seen: dict[str, set[bool]] = {alert["alert"]: set() for alert in alerts()}
    for case in yaml.safe_load(CASES.read_text())["tests"]:
        for expected in case["alert_rule_test"]:
            seen[expected["alertname"]].add(bool(expected["exp_alerts"]))
    assert [name for name, fires in seen.items() if fires != {True, False}] == []


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed; it comes with Prometheus")
def test_prometheus_reads_the_rules_and_fires_when_it_should() -> None:
    """`promtool check rules`, and the cases beside this file by `promtool test rules`."""
    for arguments in (["check", "rules", str(RULES)], ["test", "rules", CASES.name]):
        command = [str(PROMTOOL), *arguments]
        done = subprocess.run(command, cwd=CASES.parent, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_asks_the_data_source_that_is_chosen() -> None:
    """Nothing in it belongs to one Grafana; ids are unique, and no panel lies on another."""
    dashboard = json.loads(shipped("grafana.json"))
    assert [variable["name"] for variable in dashboard["templating"]["list"]] == ["datasource", "job"]
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
        assert all('job="$job"' in target["expr"] for target in panel["targets"])
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in dashboard["panels"]):
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_every_measure_is_shown_or_watched() -> None:
    """A metric that nothing looks at is one too many."""
    asked = " ".join(queries())
    assert [measure.name for measure in MEASURES if not re.search(rf"\b{measure.name}", asked)] == []


def test_the_command_prints_both_files(acms: Acms) -> None:
    """As they are, without a store and without serving."""
    assert acms("metrics", "--rules").stdout == RULES.read_text()
    assert json.loads(acms("metrics", "--dashboard").stdout)["title"] == "prefect-acms"
