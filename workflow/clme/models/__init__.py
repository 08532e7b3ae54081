"""Where language models come from, and the one file that knows their internals."""
