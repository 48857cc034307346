"""What records tell: reports over them, and what other policies would have made of them."""
