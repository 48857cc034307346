"""What a language model can do besides being safe, measured the same way before and after it was trained."""
