"""Leak test: a canary is streamed through someone's guard, and a spy at every outlet looks for what should be withheld.

from guardrail.leaktest import CANARIES, Spy

spy = Spy()
spy.heard("stream", "text that came out")
for outlet in spy.leaks(CANARIES["word"]):
    print(outlet.name, outlet.leaked_chars)
"""

from guardrail.leaktest.canary import CANARIES, Canary
from guardrail.leaktest.drive import Drive, eavesdrop
from guardrail.leaktest.plain import function_drives, is_plain
from guardrail.leaktest.report import Report
from guardrail.leaktest.spy import Outlet, Run, Spy
from guardrail.leaktest.texts import texts
from guardrail.leaktest.upstream import Upstream

__all__ = [
    "CANARIES",
    "Canary",
    "Drive",
    "Outlet",
    "Report",
    "Run",
    "Spy",
    "Upstream",
    "eavesdrop",
    "function_drives",
    "is_plain",
    "texts",
]
