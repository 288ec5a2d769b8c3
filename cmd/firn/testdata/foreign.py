"""Changes a table as other programs do, with pyiceberg, while Firn writes to it. usage: foreign.py CATALOG.DB WAREHOUSE TABLE CHANGE

CHANGE is delete (the row with id 0), property, expire (all snapshots but the newest) or rollback (by three snapshots). A commit that
meets another is tried again on the table as it is then.
"""
import datetime
import sys

from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import CommitFailedException

catalog, warehouse, table, change = sys.argv[1:]
loaded = load_catalog("default", type="sql", uri=f"sqlite:///{catalog}", warehouse=f"file://{warehouse}")


def delete(t):
    t.delete("id = 0")


def property(t):
    with t.transaction() as tx:
        tx.set_properties({"owner": "somebody"})


def expire(t):
    t.maintenance.expire_snapshots().older_than(datetime.datetime.now()).commit()


def rollback(t):
    t.manage_snapshots().rollback_to_snapshot(t.history()[-4].snapshot_id).commit()


for left in range(50, 0, -1):
    try:
        {f.__name__: f for f in (delete, property, expire, rollback)}[change](loaded.load_table(table))
        break
    except CommitFailedException:
        if left == 1:
            raise
