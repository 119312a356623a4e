"""Intent on disk: what people asked for, written before it takes effect, in one SQLite file under the data-root.

    store     all tables by noun; open and close       table     documents of one kind; cursors
    database  connection, transactions, failures       schema    versions and forward migrations
    lock      one daemon a data-root

The store is used from the event loop's thread alone. A committed write has reached the disk (WAL with
``synchronous=FULL``, about 0.35 ms on the machine where it was measured).
"""

from linkspan.store.store import Store
from linkspan.store.table import Cursors, Table

__all__ = ["Cursors", "Store", "Table"]
