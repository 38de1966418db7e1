"""The HTTP service: the package's verbs behind a socket, texts of many requests encoded together, and a page for people."""
