"""Files that ship inside the package."""

DEFAULT_MANIFEST_SHA256 = "233c8b353f2446a4fc2da5d78534ccfbe1c978faaa7c22126ed8ff8753a8229b"
"""SHA-256 of default/manifest.json, which holds the hashes of all other files of the embedded model: a model that was
exchanged together with its manifest is noticed too. Whoever puts another model there writes its manifest's hash here.
"""
