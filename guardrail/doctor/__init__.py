"""What `guardrail doctor` looks at: one module a question, one frozen answer each, and the checks it means."""
