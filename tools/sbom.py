"""Writes dist/*.cdx.json, the bill of materials of the wheel: `make sbom`.

CycloneDX 1.6: what an installation without extras brings, from the pins of constraints/demo.txt, with licences and the
hashes of every file of each release, and the files of the embedded model. The same sources give the same bytes: it has
no time and no serial number. What a package needs depends on the platform, so the platform is named.
"""

import hashlib
import json
import platform
import sys
import tomllib
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

from tools.licences import licence_of
from tools.pins import CONSTRAINTS, PROJECT, ROOT, Pin, closure, installed, needs, read_pins

ENVIRONMENT = ROOT / ".venvs" / "demo"
LOCK = CONSTRAINTS / "demo.txt"
MODEL = ROOT / "guardrail" / "assets" / "default"


def bill(found: dict[str, Distribution], pins: list[Pin], model: Path, project: dict[str, Any]) -> dict[str, Any]:
    """Return the bill of materials as a CycloneDX document.

    Args:
        found: what is installed.
        pins: of that.
        model: folder of the embedded model.
        project: the table of pyproject.toml.

    Raises:
        ValueError: something that the package needs is not installed as pinned, or has no licence that is understood.
    """
    names = sorted(closure(found, PROJECT) - {PROJECT})
    by_name = {pin.name: pin for pin in pins if pin.is_needed}
    root = {
        "type": "library", "bom-ref": _purl(PROJECT, project["version"]), "name": PROJECT,
        "version": project["version"], "purl": _purl(PROJECT, project["version"]),
        "licenses": [{"expression": project["license"]}],
    }  # fmt: skip
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "build"}],
            "component": root,
            "properties": [{"name": "guardrail:platform", "value": _platform()}],
        },
        "components": [*(_package(found.get(name), by_name.get(name), name) for name in names), _model(model)],
        "dependencies": _dependencies(found, [PROJECT, *names]),
    }


def _package(package: Distribution | None, pin: Pin | None, name: str) -> dict[str, Any]:
    if package is None or pin is None or package.version != pin.version:
        raise ValueError(f"{name} is not installed as {LOCK.name} pins it: make demo")
    licence = licence_of(package)
    if licence is None:
        raise ValueError(f"the licence of {name} is not understood: tools/licences.py")
    purl = _purl(name, pin.version)
    return {
        "type": "library", "bom-ref": purl, "name": name, "version": pin.version, "purl": purl,
        "licenses": [{"expression": licence}],
        "externalReferences": [
            {
                "type": "distribution", "url": purl,
                "comment": "every file of this release: which one is installed depends on the platform",
                "hashes": [{"alg": "SHA-256", "content": one} for one in sorted(pin.hashes)],
            }
        ],
    }  # fmt: skip


def _model(folder: Path) -> dict[str, Any]:
    """Return the embedded model: its files as they are packaged."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    manifest = json.loads((folder / "manifest.json").read_bytes())
    return {
        "type": "machine-learning-model", "bom-ref": f"model:{manifest['name']}", "name": manifest["name"],
        "licenses": [{"expression": "Apache-2.0"}],
        "components": [
            {
                "type": "file", "bom-ref": f"file:{path.name}", "name": path.name,
                "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}],
            }
            for path in files
        ],
    }  # fmt: skip


def _dependencies(found: dict[str, Distribution], names: list[str]) -> list[dict[str, Any]]:
    graph = []
    for name in names:
        needed = sorted({one for one, _ in needs(found[name])} - {name})
        graph.append({"ref": _ref(found, name), "dependsOn": [_ref(found, one) for one in needed]})
    return graph


def _ref(found: dict[str, Distribution], name: str) -> str:
    return _purl(name, found[name].version)


def _purl(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{version}"


def _platform() -> str:
    return f"{sys.platform} {platform.machine()}, Python {sys.version_info.major}.{sys.version_info.minor}"


def written(document: dict[str, Any]) -> str:
    """Return the document as it is stored."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def check_schema(text: str) -> None:
    """Check a document against CycloneDX' own schema, strictly.

    Raises:
        ValueError: it does not fit; the message says where.
    """
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    if wrong := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise ValueError(f"no valid CycloneDX 1.6: {wrong}")


def main() -> None:
    """Write the bill, after its schema was checked and a second making gave the same bytes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    texts = {written(bill(installed(ENVIRONMENT), read_pins(LOCK), MODEL, project)) for _ in range(2)}
    if len(texts) != 1:
        raise ValueError("two makings differ")
    (text,) = texts
    check_schema(text)
    path = ROOT / "dist" / f"{PROJECT}-{project['version']}.cdx.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "utf-8")
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    print(f"{path.relative_to(ROOT)}: {len(json.loads(text)['components'])} components, SHA-256 {sha256}")


if __name__ == "__main__":
    main()
