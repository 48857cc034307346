"""`guardrail reward`: the guard as a reward for trainers of other people."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from guardrail.cli.options import Flag


def serve(
    config: Path | None = None,
    *,
    host: str | None = None,
    port: int | None = None,
    kind: Literal["guard_only", "mixed"] | None = None,
    model: str | None = None,
    policy: str | None = None,
    helpfulness: str | None = None,
    allow_public: Flag = False,
) -> None:
    """Serve rewards over HTTP, in the shapes that OpenRLHF, verl and TRL read.

    ```sh
    guardrail reward serve                                      # http://127.0.0.1:8100, the embedded model, guard_only
    guardrail reward serve --kind mixed --helpfulness Skywork/Skywork-Reward-V2-Qwen3-0.6B
    guardrail reward serve reward.toml                          # keys, limits, a Gen model that knows refusals
    curl localhost:8100/reward -d '{"completions": [{"prompt": "How do I bake bread?", "text": "Mix flour and salt."}]}'
    ```

    OpenRLHF takes the address `http://HOST:8100/get_reward`, verl and TRL a small file; docs/rewards.md has them all.

    Args:
        config: TOML file; docs/rewards.md has all its keys.
        host: address; one that others can reach needs keys in the file, or --allow-public.
        port: TCP port; 0 takes a free one.
        kind: the reward of requests that name none.
        model: guard model: "default" (embedded), a hub id, a checkpoint folder or an exported folder.
        policy: ready policy (strict, balanced, loose) or a TOML file whose rule for answers says what is unsafe.
        helpfulness: folder or hub id of a reward model that transformers can read, for the reward `mixed`.
        allow_public: serve a public address without keys.
    """
    from guardrail.training.rewards.running import run
    from guardrail.training.rewards.serve_settings import RewardServeSettings
    from guardrail.training.rewards.settings import HelpfulnessModelSettings
    from guardrail.training.settings import load_settings

    settings = load_settings(config, RewardServeSettings) if config else RewardServeSettings()
    guard = replace(settings.rewards.guard, **_said(model=model, policy=policy))
    rewards = replace(settings.rewards, guard=guard)
    if helpfulness is not None:
        rewards = replace(rewards, helpfulness=HelpfulnessModelSettings(model=helpfulness))
    server = replace(settings.server, **_said(host=host, port=port, allow_public=allow_public or None))
    run(
        replace(settings, rewards=rewards, server=server, **_said(kind=kind)), lambda text: print(text, file=sys.stderr)
    )


def _said(**flags: Any) -> dict[str, Any]:
    """Return the flags that were given."""
    return {name: value for name, value in flags.items() if value is not None}
