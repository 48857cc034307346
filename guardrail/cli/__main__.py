"""`python -m guardrail.cli`: the command line where the script is not on the path."""

from guardrail.cli.main import main

main()
