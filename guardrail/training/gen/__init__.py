"""What `train sft-gen` is made of: rows as prompts and answers of Qwen3Guard-Gen, their order, figures, files."""
