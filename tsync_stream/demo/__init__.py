"""The demo: `make demo`, or `python -m tsync_stream.demo`. The real worker on real servers, with live listings.

It is what a newcomer sees first: documents arrive in Typesense while they are written to MongoDB, and can be
searched. It uses what the product uses (the embedded stack, the worker's command line) and nothing behind its back.
"""
