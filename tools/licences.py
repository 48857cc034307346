"""What licence a package has, as an SPDX expression, and whether ours may depend on it."""

import re
from importlib.metadata import Distribution

ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CNRI-Python",
    "HPND", "ISC", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib",
}  # fmt: skip
"""Licences under which a package may be used and passed on beside Apache-2.0 code; MPL-2.0 binds its own files only."""

REASONED = {
    "psycopg": "LGPL-3.0-only",
    "psycopg-binary": "LGPL-3.0-only",
}
"""Exceptions. The PostgreSQL driver comes with the extra `sql` only, installed by pip as it is, and is not changed."""

_WRITTEN = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache-2.0": "Apache-2.0",
    "bsd license": "BSD-3-Clause",
    "dual license": "Apache-2.0 OR BSD-3-Clause",
    "mit": "MIT",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "the mit license (mit)": "MIT",
}
"""What packages write where they do not give an SPDX expression, in lower case, to what it means."""

_SPDX = re.compile(r"[A-Za-z0-9.+-]+(?: (?:AND|OR|WITH) [A-Za-z0-9.+-]+)*")


def licence_of(package: Distribution) -> str | None:
    """Return a package's licence as an SPDX expression; None if what it says is not understood."""
    said = package.metadata.json
    if expression := said.get("license_expression"):
        return str(expression)
    written = str(said.get("license") or "").strip()
    first_line = re.split(r"\n|  ", written)[0].strip()
    if known := _WRITTEN.get(first_line.lower()):
        return known
    classifiers = map(str, said.get("classifier") or [])
    named = [text.rpartition(" :: ")[2].lower() for text in classifiers if text.startswith("License ::")]
    if named and all(name in _WRITTEN for name in named):
        return " OR ".join(sorted({_WRITTEN[name] for name in named}))
    return first_line if _SPDX.fullmatch(first_line) and first_line.split(" ")[0] in ALLOWED else None


def is_allowed(name: str, expression: str | None) -> bool:
    """Whether ours may depend on a package with that licence: one of the alternatives must be allowed in all parts."""
    if expression is None:
        return False
    if REASONED.get(name) == expression:
        return True
    if "(" in expression:  # not taken apart: every licence named must be allowed
        return set(re.findall(r"[A-Za-z0-9.+-]+", expression)) - {"AND", "OR"} <= ALLOWED
    return any(set(choice.split(" AND ")) <= ALLOWED for choice in expression.split(" OR "))
