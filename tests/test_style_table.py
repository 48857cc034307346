"""The table of style: what it counts, and that no outlier of ours stands without a reason."""

import pytest

from tools.style_table import FOLDERS, MOST_BODY, MOST_FILE, find_outliers, measure, read_folder, table

LONG = "\n".join(f"    x{i} = {i}" for i in range(MOST_BODY + 1))


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_outlier_is_without_a_reason(folder: str) -> None:
    """A long body, a long file or a broad handler says why, beside itself."""
    found = [outlier for source, place in read_folder(folder) for outlier in find_outliers(source, place)]
    assert [f"{one.place}: {one.what}" for one in found if not one.reason] == []


def test_a_table_has_a_row_for_each_folder() -> None:
    """The outliers come with it."""
    rows, outliers = table(("onnx_export", "adapters/litellm"))
    assert [row.split("`")[1] for row in rows.splitlines()[2:]] == ["onnx_export/", "adapters/litellm/"]
    assert [one.what for one in outliers] == ["broad handler"]


def test_bodies_are_counted_without_their_docstring() -> None:
    """From the first statement to the last one, comments between them included; inner functions count too."""
    found = measure(
        'def f(a: int) -> int:\n    """Say.\n\n    More.\n    """\n    b = a\n    # why\n    return b\n', "f.py"
    )
    assert (found.bodies, found.n_lines, found.n_comments) == ((3,), 8, 1)
    assert measure('def f() -> None:\n    """Say."""\n', "f.py").bodies == (0,)
    assert measure("def f() -> None:\n    def g() -> None:\n        pass\n", "f.py").bodies == (2, 1)


@pytest.mark.parametrize(
    ("header", "reason"),
    [("def f() -> None:", ""), ("# long: a table\ndef f() -> None:", "a table"), ("# no reason\ndef f() -> None:", ""),
     ("# long: a table\n@cached\n@twice\nasync def f() -> None:", "a table"), ("# long:\ndef f() -> None:", ""),
     ("# long: of another\n\ndef f() -> None:", "")],
)  # fmt: skip
def test_a_long_body_has_its_reason_above_it(header: str, reason: str) -> None:
    """Above its decorators, and nowhere else."""
    (found,) = measure(f"{header}\n{LONG}\n", "f.py").outliers
    assert (found.what, found.reason) == (f"f, {MOST_BODY + 1} lines", reason)
    shorter = LONG.rpartition("\n")[0]
    assert measure(f"{header}\n{shorter}\n", "f.py").outliers == ()


def test_a_long_file_has_its_reason_at_its_top() -> None:
    """Not further down."""
    lines = "x = 1\n" * MOST_FILE
    assert measure(lines, "f.py").outliers == ()
    assert [one.reason for one in measure(f"# long: a table\n{lines}", "f.py").outliers] == ["a table"]
    assert [one.reason for one in measure(f"{lines}# long: a table\n", "f.py").outliers] == [""]


@pytest.mark.parametrize(
    ("handler", "expected"),
    [("except Exception:  # noqa: BLE001 - the edge\n    pass", ["the edge"]),
     ("except BaseException:  # noqa: BLE001  # the edge\n    pass", ["the edge"]),
     ("except Exception:  # noqa: BLE001\n    pass", [""]), ("except:\n    pass", [""]),
     ("except (OSError, Exception):\n    pass", [""]), ("except OSError:\n    pass", []),
     ("except Exception:\n    x = 1\n    raise", [])],
)  # fmt: skip
def test_a_broad_handler_says_why_it_goes_on(handler: str, expected: list[str]) -> None:
    """A rule that is switched off is no reason; a handler that raises again hides nothing."""
    found = measure(f"try:\n    x = 0\n{handler}\n", "f.py")
    assert [one.reason for one in found.outliers] == expected
    assert found.n_broad == len(expected)


@pytest.mark.parametrize(
    ("header", "expected"),
    [("def f(self, a: int, *b: int, **c: int) -> None", 1), ("def f(a) -> None", 0), ("def f(a: int)", 0),
     ("def f(*a) -> None", 0), ("def f(*, a) -> None", 0)],
)  # fmt: skip
def test_a_function_counts_as_annotated_when_all_of_it_is(header: str, expected: int) -> None:
    """But for self and cls."""
    assert measure(f"{header}: ...\n", "f.py").n_annotated == expected
