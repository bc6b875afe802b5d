"""The demo: `make demo`, or `python -m tsync_stream.demo`. The real worker on real servers, with live listings.

It is what a newcomer sees first: documents written to MongoDB arrive in Typesense, and can be searched. It uses only
what the product offers: the embedded stack and the worker's command line.
"""
