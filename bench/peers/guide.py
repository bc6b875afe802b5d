"""A script as guides show it: it follows the change stream with full documents, and sends one request per change.

It keeps no position, so it never sees what happens while it is not running. The first failed request ends it.
"""

import os

import typesense

from bench.peers import connection


def follow(client: typesense.Client) -> None:
    """Follow the stream from now on, until killed."""
    collection = client.collections[os.environ["TYPESENSE_COLLECTION_NAME"]]
    with connection.source().watch(full_document="updateLookup") as changes:
        connection.say("ready")
        for change in changes:
            document_id = str(change["documentKey"]["_id"])
            if change["operationType"] == "delete":
                collection.documents[document_id].delete()
            elif (document := change.get("fullDocument")) is not None:  # otherwise it has been deleted since
                del document["_id"]
                collection.documents.upsert({"id": document_id, **document})


def main() -> None:
    """Run until the benchmark ends it."""
    connection.end_with_the_benchmark()
    server = {
        "host": os.environ["TYPESENSE_HOST"],
        "port": int(os.environ["TYPESENSE_PORT"]),
        "protocol": os.environ["TYPESENSE_PROTOCOL"],
    }
    follow(
        typesense.Client(
            {
                "nodes": [server],  # type: ignore[list-item]
                "api_key": os.environ["TYPESENSE_API_KEY"],
                "connection_timeout_seconds": 10,
            }
        )
    )


if __name__ == "__main__":
    main()
