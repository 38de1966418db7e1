"""The HTTP service: it answers requests with the package's functions, batches texts across requests, and has a web page."""
