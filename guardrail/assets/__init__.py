"""Files that ship inside the package."""

DEFAULT_MANIFEST_SHA256 = "7290c911338018fa1a6fe13063ad5f58f9e46020bb1d38182744682463ef0e0d"
"""SHA-256 of default/manifest.json, which holds the hashes of all other files of the embedded model: a model that was
exchanged together with its manifest is noticed too. Whoever puts another model there writes its manifest's hash here.
"""
