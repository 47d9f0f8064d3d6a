"""The chart as Helm renders it: against the schemas of Kubernetes, and its settings against the binary.

    python chart.py HELM TANNIN
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import kubernetes_validate
import yaml

HELM, TANNIN = sys.argv[1:]
ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/tannin"
PROMETHEUS = ROOT / "deploy/observability/prometheus"
# The oldest that the chart promises (`kubeVersion`), and the newest whose schemas are there.
VERSIONS = ["1.27", kubernetes_validate.latest_version()]
# Of the Prometheus operator: Kubernetes has no schema of them.
OF_OPERATOR = {"PodMonitor", "PrometheusRule"}
OPEN = {"security": {"listenWithoutAuthentication": True}}
CLAIM = {"deepstore": {"existingClaim": "segments"}} | OPEN
CASES = {
    "as it comes": {},
    "with everything": {
        "metastore": {
            "url": "postgres://tannin@db.example:5432/tannin?sslmode=verify-full",
            "passwordSecret": {"name": "metadata", "key": "password"},
        },
        "deepstore": {
            "url": "s3://segments/olap",
            "credentialsSecret": {"name": "objects", "key": "credentials"},
            "existingClaim": "",
        },
        "security": {
            "principalsSecret": {"name": "principals", "key": "principals.toml"},
            "clusterTokenSecret": {"name": "cluster-token", "key": "token"},
            "listenWithoutAuthentication": False,
        },
        "controller": {"replicas": 3},
        "image": {"tag": "1.2.3"},
        "imagePullSecrets": [{"name": "registry"}],
        "allowedHosts": ["olap.example"],
        "env": [
            {
                "name": "TANNIN_TELEMETRY__LOG_LEVEL",
                "valueFrom": {"secretKeyRef": {"name": "levels", "key": "all"}},
            }
        ],
        "envFrom": [{"secretRef": {"name": "more"}}],
        "config": {
            "memory": {"query_bytes": 3_000_000_000},
            "broker": {"queries_wait_max_ms": 250},
            "node": {"drain_seconds": 60},
            "import": {"hosts": ["files.example:8080"]},
        },
        "server": {
            "replicas": 5,
            "storage": {"size": "2Ti", "className": "fast"},
            "nodeSelector": {"disk": "nvme"},
            "tolerations": [{"key": "olap", "operator": "Exists", "effect": "NoSchedule"}],
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "topology.kubernetes.io/zone",
                    "whenUnsatisfiable": "ScheduleAnyway",
                }
            ],
            "podAnnotations": {"team": "data"},
        },
        "broker": {
            "service": {"type": "LoadBalancer", "annotations": {"internal": "true"}},
            "ingress": {
                "enabled": True,
                "className": "nginx",
                "annotations": {"a": "b"},
                "host": "sql.example",
                "tlsSecret": "sql-tls",
            },
        },
        "antiAffinity": "required",
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
        "serviceAccount": {"annotations": {"cloud": "role"}},
    },
    "with little": {
        "antiAffinity": "none",
        "podDisruptionBudget": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "serviceAccount": {"create": False},
    },
}


def helm(*words, values):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        command = [HELM, *words, str(CHART), "--values", file.name, "--kube-version", VERSIONS[-1]]
        return subprocess.run(command, capture_output=True, text=True)


def rendered(values):
    done = helm("template", "olap", "--namespace", "data", values=CLAIM | values)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def check_schemas(objects):
    for one in objects:
        if one["kind"] in OF_OPERATOR:
            continue
        for version in VERSIONS:
            kubernetes_validate.validate(one, version, strict=True)
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(set(names)) == len(names), f"twice: {names}"


def check_references(objects):
    """What objects say of each other by name is there."""
    by_kind = {}
    for one in objects:
        by_kind.setdefault(one["kind"], {})[one["metadata"]["name"]] = one
    pods = [one for kind in ("Deployment", "StatefulSet") for one in by_kind[kind].values()]
    for one in pods:
        spec = one["spec"]["template"]["spec"]
        labels = one["spec"]["template"]["metadata"]["labels"]
        assert one["spec"]["selector"]["matchLabels"].items() <= labels.items(), one["metadata"]
        volumes = {volume["name"] for volume in spec["volumes"]}
        volumes |= {claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", [])}
        ports = {port["name"] for port in spec["containers"][0]["ports"]}
        mounts = {mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
        assert mounts == volumes, f"{one['metadata']['name']}: {mounts} of {volumes}"
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"]:
            assert spec["containers"][0][probe]["httpGet"]["port"] in ports
        account = spec["serviceAccountName"]
        assert account == "default" or account in by_kind["ServiceAccount"], account
        for volume in spec["volumes"]:
            if "configMap" in volume:
                assert volume["configMap"]["name"] in by_kind["ConfigMap"]
        if one["kind"] == "StatefulSet":
            assert one["spec"]["serviceName"] in by_kind["Service"], one["spec"]["serviceName"]
            advertised = next(
                env["value"]
                for env in spec["containers"][0]["env"]
                if env["name"] == "TANNIN_NODE__ADVERTISED_HOST"
            )
            service = one["spec"]["serviceName"]
            wanted = f"$(POD_NAME).{service}.data.svc.cluster.local"
            assert advertised == wanted, f"{advertised} instead of {wanted}"
    for service in by_kind["Service"].values():
        chosen = [one for one in pods if matches(service["spec"]["selector"], one)]
        assert len(chosen) == 1, f"{service['metadata']['name']} chooses {len(chosen)}"
    for budget in by_kind.get("PodDisruptionBudget", {}).values():
        chosen = [one for one in pods if matches(budget["spec"]["selector"]["matchLabels"], one)]
        assert len(chosen) == 1, f"{budget['metadata']['name']} chooses {len(chosen)}"


def matches(selector, workload):
    labels = workload["spec"]["template"]["metadata"]["labels"]
    return selector.items() <= labels.items()


def settings(objects):
    maps = [one for one in objects if one["kind"] == "ConfigMap"]
    return maps[0]["data"]["tannin.toml"]


def check_settings(objects):
    """The binary takes the file as it is."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(settings(objects))
        file.flush()
        done = subprocess.run([TANNIN, "config", "check", file.name], capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{settings(objects)}"


def check_rules(objects):
    """Those of the chart are those of deploy/observability."""
    for name in ["rules", "alerts"]:
        own = (CHART / f"files/{name}.yaml").read_text()
        assert own == (PROMETHEUS / f"{name}.yaml").read_text(), (
            f"copy deploy/observability/prometheus/{name}.yaml to deploy/helm/tannin/files"
        )
    found = [one for one in objects if one["kind"] == "PrometheusRule"]
    for rule in found:
        groups = {group["name"]: group["rules"] for group in rule["spec"]["groups"]}
        for name in ["rules", "alerts"]:
            wanted = yaml.safe_load((PROMETHEUS / f"{name}.yaml").read_text())["groups"]
            assert groups[f"tannin-{name}"] == wanted[0]["rules"]
    return len(found)


def check_refusals():
    """What cannot work is refused by name."""
    cases = [
        (OPEN, "deepstore.existingClaim"),
        (CLAIM | {"security": {}}, "security.principalsSecret.name"),
        (
            CLAIM | {"security": {"principalsSecret": {"name": "p"}}},
            "security.clusterTokenSecret.name",
        ),
        (CLAIM | {"controller": {"replicas": 2}}, "controller.replicas"),
        (CLAIM | {"broker": {"ingress": {"enabled": True}}}, "broker.ingress.host"),
    ]
    for values, name in cases:
        done = helm("template", "olap", values=values)
        assert done.returncode != 0 and name in done.stderr, f"{values}: {done.stderr}"


with_rules = 0
for case, values in CASES.items():
    linted = helm("lint", "--strict", values=CLAIM | values)
    assert linted.returncode == 0, f"{case}: {linted.stdout}{linted.stderr}"
    objects = rendered(values)
    check_schemas(objects)
    check_references(objects)
    check_settings(objects)
    with_rules += check_rules(objects)
    print(f"ok  {case}: {len(objects)} objects, Kubernetes {' and '.join(VERSIONS)}")
assert with_rules == 1
check_refusals()
print("ok  refusals")
