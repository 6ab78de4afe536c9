"""What is deployed: that every file is what its reader takes, and speaks of settings and metrics that there are."""

from __future__ import annotations

import configparser
import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import promql_parser
import pytest
import yaml

from hashmatch import config
from hashmatch.address import Address
from hashmatch.server.metrics import METRICS

DEPLOY = Path(__file__).parents[1] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
UNIT = DEPLOY / "systemd" / "hashmatch.service"
CONTAINERFILE = DEPLOY / "container" / "Containerfile"
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
DASHBOARD = DEPLOY / "grafana" / "hashmatch.json"

OLDEST_KUBERNETES, NEWEST_KUBERNETES = "1.29", kubernetes_validate.latest_version()
SCRAPED = {"instance", "job", "pod"}  # labels that the scraper adds
OWN = {"up": ()}  # Prometheus' own, about a scrape


def documents(path):
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def manifests():
    return [
        one for path in sorted(KUBERNETES.glob("*.yaml")) for one in documents(path) if one["kind"] != "Kustomization"
    ]


def manifest(kind):
    (found,) = (one for one in manifests() if one["kind"] == kind)
    return found


def container():
    (found,) = manifest("StatefulSet")["spec"]["template"]["spec"]["containers"]
    return found


def settings(tmp_path):
    file = tmp_path / "hashmatch.toml"
    file.write_text(manifest("ConfigMap")["data"]["hashmatch.toml"])
    return config.load(file, {}, {})


# ── Kubernetes ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", [OLDEST_KUBERNETES, NEWEST_KUBERNETES])
@pytest.mark.parametrize("one", manifests(), ids=lambda one: one["kind"])
def test_manifests_are_what_the_cluster_takes(one, version):
    kubernetes_validate.validate(one, version, strict=True)
    assert "namespace" not in one["metadata"]


def test_the_kustomization_names_every_manifest():
    (kustomization,) = documents(KUBERNETES / "kustomization.yaml")
    assert set(kustomization["resources"]) == {p.name for p in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    name, _, tag = container()["image"].partition(":")
    assert [(image["name"], image["newTag"]) for image in kustomization["images"]] == [(name, tag)]


def test_the_settings_are_settings(tmp_path):
    loaded = settings(tmp_path)
    assert loaded.settings.auth == "required"
    assert loaded.settings.tls_client_ca is not None
    assert str(tmp_path / "hashmatch.toml") in loaded.origins.values()


def test_settings_and_pod_agree(tmp_path):
    set_to = settings(tmp_path).settings
    pod = manifest("StatefulSet")["spec"]["template"]["spec"]
    mounts = {Path(mount["mountPath"]): mount for mount in container()["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert ports == {
        "grpc": Address.parse(set_to.listen).port, "metrics": Address.parse(set_to.metrics_listen).port
    }  # fmt: skip
    (claim,) = manifest("StatefulSet")["spec"]["volumeClaimTemplates"]
    assert mounts[set_to.state]["name"] == claim["metadata"]["name"]
    for file in (set_to.tls_certificate, set_to.tls_key, set_to.tls_client_ca):
        assert mounts[file.parent]["readOnly"]
        assert "secret" in volumes[mounts[file.parent]["name"]]
    given = Path(container()["args"][container()["args"].index("--config") + 1])
    assert mounts[given.parent]["readOnly"]
    assert volumes[mounts[given.parent]["name"]]["configMap"]["name"] == manifest("ConfigMap")["metadata"]["name"]
    assert given.name in manifest("ConfigMap")["data"]
    assert pod["terminationGracePeriodSeconds"] > set_to.drain_seconds + 10
    cpu, memory = (container()["resources"]["limits"][name] for name in ("cpu", "memory"))
    assert int(cpu) > set_to.workers
    assert (
        int(memory.removesuffix("Gi")) << 30
        > (set_to.workers + 1) * set_to.worker_memory_bytes + 2 * set_to.in_flight_bytes
    )


def test_no_variables_of_the_cluster_are_taken_for_settings():
    # The cluster would set HASHMATCH_PORT and the like, and unknown settings are refused.
    pod = manifest("StatefulSet")["spec"]["template"]["spec"]
    assert pod["enableServiceLinks"] is False
    assert all(config.PREFIX not in one["name"] for one in container().get("env", ()))


def test_the_pod_is_walled_in():
    pod = manifest("StatefulSet")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert manifest("ServiceAccount")["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False, "privileged": False, "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))


def test_probes_ask_what_there_is():
    asked = {name: container()[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {probe["port"] for probe in asked.values()} == {"metrics"}
    assert [probe["path"] for probe in asked.values()] == ["/readyz", "/readyz", "/livez"]


@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget", "NetworkPolicy", "StatefulSet"])
def test_selectors_find_the_pod(kind):
    spec = manifest(kind)["spec"]
    selector = spec["podSelector"] if kind == "NetworkPolicy" else spec["selector"]
    labels = manifest("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    wanted = selector.get("matchLabels", selector)
    assert wanted
    assert wanted.items() <= labels.items()


def test_nothing_goes_out_but_questions_for_names():
    spec = manifest("NetworkPolicy")["spec"]
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    assert {port["port"] for rule in spec["egress"] for port in rule["ports"]} == {53}
    assert {port["port"] for rule in spec["ingress"] for port in rule["ports"]} == {50051, 9464}
    assert all(rule["from"] for rule in spec["ingress"])


# ── Container ───────────────────────────────────────────────────────────────────────────────────────────────────────


def hadolint():
    """The linter that a package brings along for this interpreter, else the system's."""
    beside = Path(sys.executable).with_name("hadolint")
    return str(beside) if beside.exists() else shutil.which("hadolint")


def instructions():
    text = re.sub(r"^\s*#.*\n", "", CONTAINERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [tuple(line.split(None, 1)) for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def test_the_containerfile_is_sound():
    if linter := hadolint():
        done = subprocess.run([linter, "--no-color", str(CONTAINERFILE)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")
    known = {
        "FROM", "RUN", "ENV", "WORKDIR", "COPY", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT"
    }  # fmt: skip
    assert {name for name, _ in instructions()} <= known


def test_the_image_runs_as_a_user_and_holds_what_is_locked():
    lines = instructions()
    last = max(i for i, (name, _) in enumerate(lines) if name == "FROM")
    final = dict(lines[last:])
    assert final["USER"] == "10001:10001"
    assert json.loads(final["ENTRYPOINT"]) == ["hashmatch", "serve"]
    assert final["EXPOSE"].split() == ["50051", "9464"]
    assert final["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(final["HEALTHCHECK"].partition("CMD")[2])[:3] == ["hashmatch", "status", "--server"]
    assert f"{config.PREFIX}STATE={final['VOLUME']}" in final["ENV"]
    pod = manifest("StatefulSet")["spec"]["template"]["spec"]["securityContext"]
    assert final["USER"] == f"{pod['runAsUser']}:{pod['runAsGroup']}"
    installs = [text for name, text in lines if name == "RUN" and "pip install" in text]
    assert ["--require-hashes -r tools/runtime.lock" in text for text in installs] == [True, False]
    assert "--no-deps --no-build-isolation ." in installs[1]


def test_what_the_image_copies_is_there():
    for name, text in instructions():
        if name == "COPY" and "--from=" not in text:
            *sources, _ = text.split()
            assert [source for source in sources if not (DEPLOY.parent / source).exists()] == []


# ── systemd ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def unit():
    parsed = configparser.RawConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parsed.optionxform = str  # keys are told apart by case
    parsed.read_string(UNIT.read_text(encoding="utf-8"))
    return parsed["Service"]


def test_the_unit_says_what_the_server_keeps_to():
    service = unit()
    said = {
        "Type": "notify", "NotifyAccess": "main", "WatchdogSec": "30", "Restart": "always", "KillMode": "mixed",
        "OOMPolicy": "continue", "StateDirectory": "hashmatch", "StateDirectoryMode": "0700",
        "ExecReload": "/bin/kill -HUP $MAINPID", "Environment": f"{config.PREFIX}STATE=%S/hashmatch",
    }  # fmt: skip
    assert {key: service[key] for key in said} == said
    assert service["ExecStart"].split()[1:3] == ["serve", "--config"]
    assert float(service["TimeoutStopSec"]) > config.Settings().drain_seconds + 10
    assert int(service["LimitNOFILE"]) > 2 * config.Settings().connections


def test_the_unit_is_walled_in():
    service = unit()
    walls = {
        "NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "AmbientCapabilities": "", "ProtectSystem": "strict",
        "ProtectHome": "yes", "PrivateTmp": "yes", "PrivateDevices": "yes", "PrivateUsers": "yes",
        "ProtectProc": "invisible", "RestrictNamespaces": "yes", "RestrictSUIDSGID": "yes", "LockPersonality": "yes",
        "MemoryDenyWriteExecute": "yes", "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX", "UMask": "0077",
        "SystemCallArchitectures": "native", "MemorySwapMax": "0", "LimitCORE": "0",
    }  # fmt: skip
    assert {key: service[key] for key in walls} == walls
    assert "ProcSubset" not in service  # whether the kernel was short of memory is read from /proc/vmstat
    assert service["User"] not in ("", "root")


def test_systemd_takes_the_unit_and_finds_little_exposed(tmp_path):
    tool = shutil.which("systemd-analyze")
    if tool is None:
        return  # macOS, or a container without it: the tests above have read the unit
    text, swapped = re.subn(
        "^ExecStart=.*$", "ExecStart=/bin/true", UNIT.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert swapped == 1
    copy = tmp_path / UNIT.name
    copy.write_text(text)
    verified = subprocess.run([tool, "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stderr
    assert UNIT.name not in verified.stderr  # unknown keys are warned of, and ignored
    # The threshold is in tenths.
    exposed = subprocess.run(
        [tool, "security", "--no-pager", "--offline=true", "--threshold=20", str(copy)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert exposed.returncode == 0, exposed.stdout[-200:] + exposed.stderr


# ── Prometheus and Grafana ──────────────────────────────────────────────────────────────────────────────────────────


def rules():
    return [rule for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


def panels():
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def dashboard():
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def plain(expression):
    """The expression as Grafana sends it, with its variables filled in."""
    return expression.replace("$__rate_interval", "5m").replace("$instance", ".*")


QUERIES = [(rule["alert"], rule["expr"]) for rule in rules()] + [
    (f"{panel['title']} {target['refId']}", plain(target["expr"])) for panel in panels() for target in panel["targets"]
]


def labels_of(name):
    """The labels of a series, as the code defines them; None where it has no such metric."""
    base = re.sub("_(bucket|count|sum)$", "", name)
    if name in METRICS or name in OWN:
        return {*{**METRICS, **OWN}[name], *SCRAPED}
    return {*METRICS[base], *SCRAPED, *({"le"} if name.endswith("_bucket") else ())} if base in METRICS else None


def check(node):
    """The labels that the result has; None for a number. Raises where a label or a metric is none that there is."""
    match node:
        case promql_parser.VectorSelector():
            known = labels_of(node.name)
            assert known is not None, f"no such metric: {node.name}"
            asked = {
                matcher.name for matcher in (*node.matchers.matchers, *itertools.chain(*node.matchers.or_matchers))
            }
            assert asked <= known, f"{node.name} has no {asked - known}"
            return known
        case promql_parser.MatrixSelector():
            return check(node.vector_selector)
        case promql_parser.SubqueryExpr() | promql_parser.ParenExpr() | promql_parser.UnaryExpr():
            return check(node.expr)
        case promql_parser.AggregateExpr():
            known = check(node.expr)
            if node.modifier is None:
                return set()
            assert node.modifier.type == promql_parser.AggModifierType.By, "what is left must be named"
            named = set(node.modifier.labels)
            assert named <= known, f"grouped by {named - known}, which {node.expr} has not"
            return named
        case promql_parser.BinaryExpr():
            return joined(node, check(node.lhs), check(node.rhs))
        case promql_parser.Call():
            found = [labels for argument in node.args if (labels := check(argument)) is not None]
            if node.func.name == "time":
                return None
            if node.func.name == "histogram_quantile":
                assert "le" in found[0], "a quantile needs le"
                return found[0] - {"le"}
            return set().union(*found)
        case promql_parser.NumberLiteral() | promql_parser.StringLiteral():
            return None
    raise AssertionError(f"what is {node!r}?")


def joined(node, left, right):
    """The labels of two sides together. Raises where their labels differ, since then no series ever finds another."""
    if left is None or right is None:
        return left if right is None else right
    if str(node.op) == "or":
        return left & right
    on_left, on_right, kept = left, right, left
    if node.modifier is not None and (matching := node.modifier.matching) is not None:
        named = set(matching.labels)
        if matching.type == promql_parser.LabelModifierType.Include:
            assert named <= left & right, f"joined by {named - (left & right)}, which not both sides have"
            on_left = on_right = named
        else:
            on_left, on_right = left - named, right - named
        if node.modifier.card == promql_parser.VectorMatchCardinality.OneToOne:
            kept = on_left
    assert on_left == on_right, f"{on_left} never equals {on_right}: {node}"
    return kept


@pytest.mark.parametrize(("where", "expression"), QUERIES, ids=[where for where, _ in QUERIES])
def test_every_query_asks_for_what_is_measured(where, expression):
    check(promql_parser.parse(expression))


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("hashmatch_serving_total", "no such metric"),
        ('hashmatch_in_flight{sort="media"}', "has no"),
        ("sum by (code) (rate(hashmatch_request_seconds_count[5m]))", "grouped by"),
        ("histogram_quantile(0.5, sum by (method) (rate(hashmatch_request_seconds_bucket[5m])))", "needs le"),
        ("hashmatch_serving * on (list) hashmatch_revision", "joined by"),
        ("hashmatch_worker_crashes_total / hashmatch_verdicts_total", "never equals"),
        ("hashmatch_serving == 0 and sum(hashmatch_revision) > 1", "never equals"),
    ],
)
def test_a_query_that_asks_for_something_else_is_noticed(expression, says):
    with pytest.raises(AssertionError, match=says):
        check(promql_parser.parse(expression))


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_alert_says_how_bad_it_is_and_what_to_do(rule):
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert all(len(text) > 30 for text in rule["annotations"].values())
    left = check(promql_parser.parse(rule["expr"]))
    for text in rule["annotations"].values():
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= left


def test_alerts_have_names_of_their_own():
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)


def test_every_panel_says_what_it_shows():
    assert dashboard()["schemaVersion"] >= 39
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])
    for panel in panels():
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert len(panel["description"]) > 20, panel["title"]
        assert {source["datasource"]["uid"] for source in (panel, *panel["targets"])} == {"${datasource}"}


def test_panels_do_not_overlap():
    taken = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_the_datasource_is_a_variable():
    variables = {variable["name"]: variable for variable in dashboard()["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    used = {
        name for panel in panels() for target in panel["targets"] for name in re.findall(r"\$(\w+)", target["expr"])
    }
    assert used <= {*variables, "__rate_interval"}
    asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", variables["instance"]["query"]["query"])
    assert asked is not None
    assert asked[2] in labels_of(asked[1])


def test_what_matters_most_has_an_alert():
    text = " ".join(rule["expr"] for rule in rules())
    for name in (
        "hashmatch_serving", "hashmatch_canary_timestamp_seconds", "hashmatch_list_stale", "hashmatch_ledger_healthy",
        "hashmatch_ledger_commit_seconds", "hashmatch_worker_crashes_total", "hashmatch_workers",
        "hashmatch_refused_total", "hashmatch_requests_total", "hashmatch_request_seconds", "hashmatch_verdicts_total",
        "hashmatch_list_matches_total", "hashmatch_alarms_total", "hashmatch_denied_total", "hashmatch_disk_free_bytes",
        "hashmatch_certificate_expiry_timestamp_seconds",
    ):  # fmt: skip
        assert name in text
