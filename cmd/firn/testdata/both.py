"""Reads a table by pyiceberg and by DuckDB, fails where they disagree on a value, and prints its own columns as JSON by kafka_offset.

usage: both.py CATALOG.DB WAREHOUSE TABLE"""
import json
import sys

from check import rows_duckdb, rows_pyiceberg


def payload(rows):
    names = ("kafka_topic", "kafka_partition", "kafka_offset", "kafka_timestamp", "kafka_key", "kafka_headers")
    return {row["kafka_offset"]: {k: v for k, v in row.items() if k not in names} for row in rows}


one, other = payload(rows_pyiceberg(*sys.argv[1:])), payload(rows_duckdb(*sys.argv[1:]))
assert one.keys() == other.keys(), f"offsets {sorted(one)} and {sorted(other)}"
for offset, row in one.items():
    for name, value in row.items():
        if value == [] and other[offset][name] is None:
            row[name] = None  # pyiceberg 0.12 loses which lists of structs are null: it makes them anew from their offsets alone
    assert row == other[offset], f"offset {offset}: pyiceberg reads {row}, DuckDB {other[offset]}"
json.dump({str(k): v for k, v in one.items()}, sys.stdout)
