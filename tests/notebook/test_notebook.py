"""The notebook of examples/ as its reader runs it: in a kernel, from top to bottom, with its plots."""

from pathlib import Path
from typing import Any

import pytest

nbclient = pytest.importorskip("nbclient", reason="the notebook has an environment of its own: make notebook-test")
nbformat = pytest.importorskip("nbformat", reason="it comes with nbclient")

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "token_risk.ipynb"


def test_the_notebook_shows_its_figures_and_its_plots(tmp_path: Path) -> None:
    """Every cell runs; the two that draw leave a picture, the others what they print."""
    notebook: Any = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    pictures = [cell for cell in code if any("image/png" in out.get("data", {}) for out in cell.outputs)]
    assert pictures == [cell for cell in code if "plot" in cell.metadata.get("tags", ())]
    assert len(pictures) == 2
    printed = "".join(out.text for cell in code for out in cell.outputs if out.output_type == "stream")
    assert "stop  Unethical Acts" in printed
    assert "harmless allow" in printed
