"""`python -m guardrail.onnx_export export|verify`: what the commands `guardrail export` and `guardrail verify` run.

For environments without the command line's packages.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from guardrail.errors import GuardError
from guardrail.onnx_export.export import export_checkpoint
from guardrail.onnx_export.graph import PRECISIONS


def main(arguments: list[str]) -> int:
    """Run one command; return 0, 1 for a failed comparison, 2 for wrong usage or a bad checkpoint."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "export":
            export_checkpoint(options.source, options.target, precision=options.precision or "int8")
            return 0
        return _verify(options)
    except (GuardError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _verify(options: argparse.Namespace) -> int:
    from guardrail.onnx_export.verify import format_report, verify_checkpoint

    report = verify_checkpoint(options.source, precision=options.precision, exported=options.exported)
    text = json.dumps({**asdict(report), "passed": report.passed}) if options.json else format_report(report)
    sys.stdout.write(f"{text}\n")
    return 0 if report.passed else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m guardrail.onnx_export", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    export = commands.add_parser("export", help="export a checkpoint folder")
    verify = commands.add_parser("verify", help="compare an export with the torch network")
    for command in (export, verify):
        command.add_argument("source", type=Path, help="checkpoint folder in the published format")
        command.add_argument("--precision", choices=PRECISIONS, help="of the weights; int8 unless named")
    export.add_argument("target", type=Path, help="folder to make")
    verify.add_argument("--exported", type=Path, help="an export of that checkpoint; otherwise one is made")
    verify.add_argument("--json", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
