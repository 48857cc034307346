"""The command line: parse, call the facade, print."""
