"""`python -m guardrail.onnx_export export|calibrate-kv|verify`: what the commands of `guardrail` of these names run.

For environments without the command line's packages.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from guardrail.errors import GuardError
from guardrail.onnx_export.calibrate import calibrate_kv
from guardrail.onnx_export.export import export_checkpoint
from guardrail.onnx_export.precision import BLOCK_SIZES, PRECISIONS


def main(arguments: list[str]) -> int:
    """Run one command; return 0, 1 for a failed comparison, 2 for wrong usage or a bad folder."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "verify":
            return _verify(options)
        if options.command == "export":
            precision, block_size = options.precision or "int8", options.block_size
            export_checkpoint(options.source, options.target, precision=precision, block_size=block_size)
        if options.command == "calibrate-kv" or options.kv == "int8":
            calibrate_kv(options.target, texts=options.texts)
    except (GuardError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _verify(options: argparse.Namespace) -> int:
    from guardrail.onnx_export.verify import format_report, verify_checkpoint

    report = verify_checkpoint(
        options.source, precision=options.precision, kv_precision=options.kv, exported=options.exported
    )
    text = json.dumps({**asdict(report), "passed": report.passed}) if options.json else format_report(report)
    sys.stdout.write(f"{text}\n")
    return 0 if report.passed else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m guardrail.onnx_export", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    export = commands.add_parser("export", help="export a checkpoint folder")
    calibrate = commands.add_parser("calibrate-kv", help="give an exported folder an int8 KV cache")
    verify = commands.add_parser("verify", help="compare an export with the torch network")
    for command in (export, verify):
        command.add_argument("source", type=Path, help="checkpoint folder in the published format")
        command.add_argument("--precision", choices=PRECISIONS, help="of the weights; int8 unless named")
        command.add_argument("--kv", choices=("fp32", "int8"), default="fp32", help="of the KV cache")
    export.add_argument("target", type=Path, help="folder to make")
    export.add_argument("--block-size", type=int, choices=BLOCK_SIZES, help="weights that share one scale")
    calibrate.add_argument("target", type=Path, help="exported folder")
    for command in (export, calibrate):
        command.add_argument("--texts", type=Path, help="file of texts to calibrate on")
    verify.add_argument("--exported", type=Path, help="an export of that checkpoint; otherwise one is made")
    verify.add_argument("--json", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
