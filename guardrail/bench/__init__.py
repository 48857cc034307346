"""Measures a guard model on the machine at hand: `guardrail bench`. One module a question, one frozen result each."""
