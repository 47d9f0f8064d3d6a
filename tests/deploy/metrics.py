"""Every metric and label that a rule, an alert or a panel names is one that a node shows."""

import json
from pathlib import Path

import promql_parser
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy/observability/prometheus"
DASHBOARDS = ROOT / "deploy/observability/grafana/operators"
ALERT_GUIDE = ROOT / "docs/operations/alerts.md"
# Made by Prometheus itself, for every target.
OF_PROMETHEUS = {"up"}
LABELS_OF_PROMETHEUS = {"job", "instance"}
# What Grafana puts in before it asks.
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*", "$table": ".*"}


def rules(name):
    groups = yaml.safe_load((PROMETHEUS / name).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def recorded():
    return {rule["record"] for rule in rules("rules.yaml")}


def panels():
    """(where, expression) of each query of each dashboard."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                expression = target["expr"]
                for name, value in VARIABLES.items():
                    expression = expression.replace(name, value)
                yield f"{path.name}, {panel['title']}", expression


def expressions():
    for name in ["rules.yaml", "alerts.yaml"]:
        for rule in rules(name):
            yield f"{name}, {rule.get('alert') or rule['record']}", rule["expr"]
    yield from panels()


def selectors(expression):
    """(metric, labels that it is chosen by) of each selector."""
    found = []

    def visit(node):
        if isinstance(node, promql_parser.VectorSelector):
            found.append((node.name, {one.name for one in node.matchers.matchers}))
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


def shown(text):
    """Names of samples with the names of their labels, of Prometheus' text form."""
    samples = {}
    for line in text.splitlines():
        if line.startswith("#") or not line:
            continue
        name, _, labels = line.rsplit(" ", 1)[0].partition("{")
        keys = {pair.split("=")[0] for pair in labels.rstrip("}").split('",') if pair}
        samples.setdefault(name, set()).update(keys)
    return samples


def missing_metrics(services):
    """The first metric or label that is asked for and that no node shows; nothing: all are there."""
    there = {}
    for service in services.all.values():
        status, text = service.ask("/metrics")
        assert status == 200, f"{service.name}: {status}"
        for name, labels in shown(text).items():
            there.setdefault(name, set()).update(labels)
    asked = [(where, *one) for where, text in expressions() for one in selectors(text)]
    assert asked, "nothing is asked for"
    for where, name, labels in asked:
        if name in OF_PROMETHEUS | recorded():
            continue
        if name not in there:
            return f"{where}: no role shows `{name}`"
        unknown = labels - there[name] - LABELS_OF_PROMETHEUS
        if unknown:
            return f"{where}: `{name}` has no label {sorted(unknown)}"
    return None


def check_alerts():
    """Each alert tells what it means and what to do, and leads to where there is more."""
    headings = {
        line.removeprefix("## ").strip()
        for line in ALERT_GUIDE.read_text().splitlines()
        if line.startswith("## ")
    }
    alerts = rules("alerts.yaml")
    for rule in alerts:
        name, notes = rule["alert"], rule["annotations"]
        assert name in headings, f"docs/operations/alerts.md has no `## {name}`"
        assert notes["runbook_url"].endswith(f"docs/operations/alerts.md#{name.lower()}"), name
        assert notes["summary"] and notes["description"], name
        assert rule["labels"]["severity"] in ("critical", "warning"), name
    gone = {one for one in headings if one.startswith("Tannin")} - {one["alert"] for one in alerts}
    assert not gone, f"docs/operations/alerts.md explains alerts that there are not: {sorted(gone)}"
