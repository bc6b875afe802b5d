"""The embedded stack: real MongoDB, Redis and Typesense servers on free loopback ports, under one directory.

It is for `TSYNC_EMBEDDED=true faust -A tsync_stream worker`, the demo and the tests. It does not use asyncio. No server
outlives the process that started it, however that process ends.
"""

from tsync_stream.embedded.executables import EXECUTABLE_VARIABLES
from tsync_stream.embedded.servers import MongoServer, RedisServer, RedisServerOptions, TypesenseServer
from tsync_stream.embedded.stack import ALL_SERVERS, EmbeddedStack
from tsync_stream.embedded.supervised import EmbeddedServerError, Server

__all__ = [
    "ALL_SERVERS",
    "EXECUTABLE_VARIABLES",
    "EmbeddedServerError",
    "EmbeddedStack",
    "MongoServer",
    "RedisServer",
    "RedisServerOptions",
    "Server",
    "TypesenseServer",
]
