"""Writes the pins in constraints/ with uv: every package of an environment, with the hashes of all its files.

Run through `make lock`. The files hold for every platform and Python from 3.11 on; torch stands in
constraints/torch.txt, without hashes. Pins that still fit are kept; move them with `make lock LOCK_ARGS=--upgrade`
or `LOCK_ARGS="--upgrade-package NAME"`.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

LOCKS = {
    "test.txt": ["pyproject.toml", "--extra", "dev", "constraints/torch-needs.in"],
    "demo.txt": ["pyproject.toml", "constraints/build.in", "--extra", "langchain"],
    "wheel-test.txt": ["constraints/wheel-test.in"],
    "service.txt": ["pyproject.toml", "constraints/build.in", "--extra", "service"],
    "ray.txt": [
        *("pyproject.toml", "constraints/build.in", "--extra", "ray"),
        *("constraints/ray.in", "constraints/wheel-test.in"),
    ],
    "optimum.txt": [
        *("pyproject.toml", "constraints/build.in", "--extra", "optimum"),
        *("constraints/torch-needs.in", "constraints/wheel-test.in"),
    ],
    "openvino.txt": [
        *("pyproject.toml", "constraints/build.in", "--extra", "export"),
        *("constraints/torch-needs.in", "constraints/openvino.in"),
    ],
    "load.txt": ["constraints/load.in"],
    "otel.txt": [
        *("pyproject.toml", "constraints/build.in", "--extra", "otel", "--extra", "langchain", "--extra", "service"),
        *("constraints/otel.in", "constraints/wheel-test.in"),
    ],
    "supply.txt": ["constraints/supply.in"],
    "verify-types.txt": ["constraints/verify-types.in"],
    "docs.txt": [
        *("pyproject.toml", "constraints/build.in", "--extra", "agents", "--extra", "litellm", "--extra", "service"),
        *("--extra", "mcp", "--extra", "pydantic-ai", "--extra", "openai-agents", "--extra", "export"),
        "constraints/docs.in",
    ],
    "notebook.txt": [
        *("pyproject.toml", "constraints/build.in"),
        *("constraints/notebook.in", "constraints/wheel-test.in"),
    ],
    "fuzz.txt": [
        *("pyproject.toml", "constraints/build.in", "--extra", "service", "--extra", "mcp"),
        "constraints/fuzz.in",
    ],
}
"""Lock file to what it pins. Later files take over the versions of the first, so that tests and demo agree."""

APART = {
    "optimum.txt": ("transformers", "huggingface-hub", "tokenizers"),
    "otel.txt": ("tenacity",),
}
"""Lock file to the packages in which it must differ: Optimum's ONNX exporter wants an older transformers, Phoenix an
older tenacity.
"""

HEADER = """\
# {what}
# Written by `make lock`; install with `pip install --no-deps --require-hashes -r constraints/{name}`.
"""


def main(arguments: list[str]) -> None:
    """Compile every lock file, or stop with uv's message."""
    for name, sources in LOCKS.items():
        compile_lock(ROOT / "constraints" / name, sources, arguments)


def compile_lock(path: Path, sources: list[str], arguments: list[str]) -> None:
    """Write one lock file with a header of our own: uv's would name the paths of this machine."""
    uv = Path(sys.executable).with_name("uv")
    flags = ["--universal", "--generate-hashes", "--python-version", "3.11", "--no-header", "--no-annotate"]
    flags += ["--override", "constraints/no-torch.in"]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as agreed:
        if path.name != "test.txt":
            agreed.write("\n".join(shared_pins(APART.get(path.name, ()))))
            agreed.flush()
        options = [*flags, "--constraint", agreed.name, "--output-file", str(path), *arguments]
        subprocess.run([str(uv), "pip", "compile", "--quiet", *options, *sources], cwd=ROOT, check=True)
    what = f"Pinned: {' '.join(sources)}"
    path.write_text(HEADER.format(what=what, name=path.name) + path.read_text("utf-8"), "utf-8")
    print(f"{path.relative_to(ROOT)}: {path.read_text('utf-8').count('==')} packages")


def shared_pins(apart: tuple[str, ...]) -> list[str]:
    """Return the pins of test.txt, without hashes, but for some packages."""
    lines = (ROOT / "constraints" / "test.txt").read_text("utf-8").splitlines()
    pins = [line.removesuffix("\\").strip() for line in lines if "==" in line and line[0] not in "# "]
    return [pin for pin in pins if pin.partition("==")[0] not in apart]


if __name__ == "__main__":
    main(sys.argv[1:])
