"""The worlds: each a folder or a file of its own."""
