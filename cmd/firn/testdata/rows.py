"""Prints columns of an Iceberg table as JSON, read by pyiceberg. usage: rows.py CATALOG.DB WAREHOUSE TABLE [COLUMN...]"""
import base64
import json
import sys

from pyiceberg.catalog import load_catalog

catalog, warehouse, table, *columns = sys.argv[1:]
loaded = load_catalog("default", type="sql", uri=f"sqlite:///{catalog}", warehouse=f"file://{warehouse}").load_table(table)
rows = loaded.scan(selected_fields=tuple(columns) or ("*",)).to_arrow().to_pylist()
json.dump(rows, sys.stdout, default=lambda v: base64.b64encode(v).decode() if isinstance(v, bytes) else str(v))
