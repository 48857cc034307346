"""The lane of Ray, which has an environment of its own: `make ray-test`. Elsewhere everything here is skipped."""

import os
from collections.abc import Iterator

import pytest

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_AUTH_MODE"] = "disabled"  # one machine, and no file in the user's home
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """A Ray cluster on this machine; cores are counted, not pinned, so that two replicas fit anywhere."""
    ray = pytest.importorskip("ray", reason="Ray has an environment of its own: make ray-test")
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
