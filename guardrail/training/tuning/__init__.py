"""What `guardrail train sft` is made of: data order, start, trained model, Trainer and its callbacks, report."""
