"""Docker's JSON. Requests are decoded into the model's structs; the engine's views are encoded into replies.

Requests are msgspec structs under Docker's member names. Replies are built as plain mappings, spelled as they
appear on the wire, so that a reader compares them with Docker's reference line by line.
"""
