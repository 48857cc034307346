"""Groups that are left out of training are those that are measured, and no others."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.evaluation.left_out import is_left_out
from guardrail.evaluation.protocol import FileUse, Protocol
from guardrail.evaluation.rows import Tally
from guardrail.training.examples import Source, select_rows


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_leaves_out_more(group: str, share: float, other: float) -> None:
    """What a share leaves out, a larger one does too; nothing falls into none."""
    assert is_left_out(group, min(share, other)) <= is_left_out(group, max(share, other))
    assert not is_left_out(group, 0)
    assert is_left_out(group, 1)


@pytest.mark.parametrize("group", ["", "template"])
def test_training_and_measuring_share_no_group(tmp_path: Path, group: str) -> None:
    """A recipe's rows and a protocol's with the same share are all rows, and have no group in common."""
    rows = [
        {"id": str(i), "source": "toy", "lang": "en", "risk": "safe", "category": [], "unsafe_start_char": None,
         "target": "response", "refusal": None, "meta": {"template": [i % 11]},
         "messages": [{"role": "user", "content": f"question {i % 40}"}, {"role": "assistant", "content": f"yes {i}"}]}
        for i in range(200)
    ]  # fmt: skip
    (tmp_path / "toy.jsonl").write_text("\n".join(map(json.dumps, rows)))
    trained = {row["id"] for row in select_rows(tmp_path / "toy.jsonl", Source(leave_out=0.3, group=group), 1)}
    use = FileUse(left_out=0.3, group=group)
    measured = {row.id for row in Protocol(files={"toy.jsonl": use}, data_dir=tmp_path).read(Tally())}
    assert not trained & measured
    assert len(trained | measured) == 200
    assert measured
    key = 11 if group else 40
    assert not {int(i) % key for i in trained} & {int(i) % key for i in measured}
