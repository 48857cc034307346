"""A policy of one's own, from a TOML file: what is stopped, what is only marked, what a failure means."""

from pathlib import Path
from tempfile import TemporaryDirectory

from guardrail import Guard, PolicyError, load_policy

POLICY = """
name = "my support desk"
on_stop = "replace"

[messages.default]
en = "I cannot help with that."

[prompt]
controversial = "flag"      # let through, but marked in the record
unsafe = "stop"

[prompt.categories."Politically Sensitive Topics"]
unsafe = "flag"             # a support desk is no censor

[response]
controversial = "stop"
unsafe = "stop"
debounce = 2                # two risky tokens in a row
unsafe_threshold = 0.8      # and only if the model is sure
"""


def main() -> None:
    """Load the policy, use it, and show what happens to one that cannot be."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "policy.toml"
        path.write_text(POLICY)
        with Guard.default(policy=path) as guard:
            decision = guard.check_prompt("How do I return a pair of shoes?")
            print(f"{decision.identity.policy}: {decision.action}, {decision.identity.policy_sha256[:12]}")
            strict = guard.with_policy("strict")  # the same model in memory
            print(f"{strict.policy.name}: {strict.check_prompt('How do I return a pair of shoes?').action}")
        path.write_text(POLICY.replace("debounce", "debunce"))
        try:
            load_policy(path)
        except PolicyError as error:
            print(f"refused: {error}")


if __name__ == "__main__":
    main()
