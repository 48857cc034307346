"""Rows in other languages, checked by language, by a judge, and by people."""
