"""A guard for one's own policy: from a file of labelled rows to an exported model, in one command."""
