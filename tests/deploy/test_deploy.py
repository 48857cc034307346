"""The container file and the Kubernetes manifest: accepted by linters, and true to what the service does."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from guardrail.service import create_app, load_settings
from guardrail.service.stream_registry import LEAVE_S

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
MANIFEST = ROOT / "deploy" / "kubernetes.yaml"
TEXT = DOCKERFILE.read_text("utf-8")
OBJECTS: dict[str, Any] = {one["kind"]: one for one in yaml.safe_load_all(MANIFEST.read_text("utf-8"))}
POD = OBJECTS["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
CONNECTIONS_S = 5
"""What the server gives connections that are still open, behind the drain."""


def test_the_container_file_passes_its_linter() -> None:
    """Hadolint, with every rule on."""
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint is not installed: nobody lints deploy/Dockerfile")
    done = subprocess.run([hadolint, "--no-color", DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_the_manifest_follows_the_schemas_of_kubernetes(version: str) -> None:
    """The oldest version it names and the newest that is known, unknown keys refused."""
    kubernetes_validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed: nobody validates deploy/kubernetes.yaml"
    )
    for one in OBJECTS.values():
        kubernetes_validate.validate(one, version, strict=True)


def test_probes_ask_routes_that_exist() -> None:
    """And the image's own health check too."""
    asked = {probe["httpGet"]["path"] for name, probe in CONTAINER.items() if name.endswith("Probe")}
    asked |= set(re.findall(r"HEALTHCHECK.*?127\.0\.0\.1:8000(/\w+)", TEXT, re.DOTALL))
    assert asked == {"/healthz", "/readyz"}
    assert asked <= set(create_app().openapi()["paths"])


def test_the_grace_period_outlasts_the_drain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is killed that the service would still have let end."""
    settings = settings_of_the_pod(tmp_path, monkeypatch)
    waited = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"] + settings.server.drain_s
    assert POD["terminationGracePeriodSeconds"] > waited + CONNECTIONS_S + LEAVE_S


def test_the_pods_settings_are_read_as_they_are_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ConfigMap, variables of image and manifest: public with a key, threads by the limit, the pod's name."""
    settings = settings_of_the_pod(tmp_path, monkeypatch)
    assert (settings.server.host, settings.server.port, settings.server.allow_public) == ("0.0.0.0", 8000, False)  # noqa: S104  # inside a container
    assert [key.name for key in settings.keys] == ["app"]
    assert settings.guard.threads == int(CONTAINER["resources"]["limits"]["cpu"])
    assert settings.streams.server_name == "guardrail-7d9c6b5-x2x4z"


def test_the_container_is_shut_as_far_as_it_goes() -> None:
    """The same user everywhere, who is not root; nothing to write to but /tmp; no rights to gain."""
    uid = POD["securityContext"]["runAsUser"]
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert f"USER {uid}:{uid}" in TEXT
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    writable = [mount["mountPath"] for mount in CONTAINER["volumeMounts"] if not mount.get("readOnly")]
    assert writable == ["/tmp"]


def test_everything_selects_the_pods_of_the_deployment() -> None:
    """A label that is misspelled would leave the service without pods and the budget without effect."""
    labels = OBJECTS["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        OBJECTS["Deployment"]["spec"]["selector"]["matchLabels"],
        OBJECTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        OBJECTS["Service"]["spec"]["selector"],
        POD["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ]
    assert all(selector == labels for selector in selectors)
    target = OBJECTS["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", OBJECTS["Deployment"]["metadata"]["name"])
    assert "replicas" not in OBJECTS["Deployment"]["spec"]


def test_the_image_gets_all_that_the_package_is_built_from() -> None:
    """Every folder and file that pyproject.toml names is copied, and let through to the builder."""
    ignored = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text("utf-8").splitlines()
    for needed in ("pyproject.toml", "README.md", "LICENSE", "guardrail", "adapters", "onnx_export"):
        assert re.search(rf"^COPY .*\b{re.escape(needed)}\b", TEXT, re.MULTILINE), needed
        assert f"!{needed}" in ignored
    (lock,) = set(re.findall(r"constraints/\S+\.txt", TEXT))
    assert f"!{lock}" in ignored
    assert Path(lock).name in (ROOT / "tools" / "lock.py").read_text("utf-8")


def settings_of_the_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Read the settings as the pod would."""
    for name, value in re.findall(r"\b(GUARDRAIL_\w+)=(\S+)", TEXT.partition("FROM python:${PYTHON}\n")[2]):
        monkeypatch.setenv(name, value)
    filled = {
        "GUARDRAIL_KEY_APP": "0123456789abcdef0123",
        "GUARDRAIL_GUARD__THREADS": CONTAINER["resources"]["limits"]["cpu"],
        "GUARDRAIL_STREAMS__SERVER_NAME": "guardrail-7d9c6b5-x2x4z",
    }
    assert [one["name"] for one in CONTAINER["env"]] == list(filled)
    for name, value in filled.items():
        monkeypatch.setenv(name, value)
    (path,) = CONTAINER["args"]
    config = tmp_path / Path(path).name
    config.write_text(OBJECTS["ConfigMap"]["data"][config.name], "utf-8")
    return load_settings(config)
