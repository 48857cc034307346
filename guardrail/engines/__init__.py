"""Engines run a guard model over token ids; they see ids, never text."""

import os

# Official builds of onnxruntime send events to their maker, with an id that they keep in the user's cache folder, and
# begin when they are imported: a guard tells nobody what it runs. Whoever wants that sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
