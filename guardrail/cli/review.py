"""`guardrail train review`: what people found in a sheet of translations."""

from pathlib import Path

from guardrail.audit.wording import shown
from guardrail.cli.exits import Exit
from guardrail.cli.options import Flag
from guardrail.cli.show import figures, plain_console, table_console

_PIPED_WIDTH = 120


def review(sheet: Path, *, json: Flag = False) -> int:
    """Read back a sheet of translations that people have filled in, and print its error rates.

    ```sh
    guardrail train review sheet.csv
    ```

    In the column `verdict` stands `ok`, `wrong meaning`, `wrong language` or `harm changed`; rows without one count as
    not reviewed. Intervals are Wilson's at 95 %. Writes `review.json` beside the sheet. Named as `reviewed` in the
    recipe, the sheet leaves out what people rejected.

    Args:
        sheet: CSV file, with commas, semicolons or tabs, as a spreadsheet saved it.
        json: print what `review.json` holds instead of a table.
    """
    from guardrail.training.translate.review import REVIEW, review
    from guardrail.training.translate.sheet import VERDICTS

    found = review(sheet)
    if json:
        print(sheet.with_name(REVIEW).read_text("utf-8"), end="")
        return Exit.OK
    table = figures("language", "in the sheet", "reviewed", *VERDICTS, "error rate", "95 %")
    for name, rate in {**found.by_lang, "all": found.overall}.items():
        errors, verdicts = rate.errors, [str(rate.counts[verdict]) for verdict in VERDICTS]
        share, ends = f"{errors.value:.1%}", f"{errors.low:.1%} to {errors.high:.1%}"
        told = (share, ends) if rate.n_reviewed else ("-", "-")
        table.add_row(shown(name), str(rate.n), str(rate.n_reviewed), *verdicts, *told)
    table_console(_PIPED_WIDTH).print(table)
    out = plain_console()
    for row_id, verdict in found.wrong.items():
        out.print(f"{verdict}: {shown(row_id)}")
    return Exit.OK
