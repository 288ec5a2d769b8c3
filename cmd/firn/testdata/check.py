"""Reads tables that Firn wrote with readers that Firn's authors did not write, and holds every row against the input.

usage: check.py pyiceberg|duckdb CATALOG.DB WAREHOUSE INPUT.jsonl TABLE...

Each table must hold each line of the input once (lines are told apart by "id"), each (partition, offset) once, offsets without
holes, and every value exactly as it was: numbers, nulls, nested objects and arrays. Prints one line a table; fails loudly.
"""
import collections
import glob
import importlib.util
import json
import sqlite3
import sys


def rows_pyiceberg(catalog, warehouse, table):
    from pyiceberg.catalog import load_catalog
    loaded = load_catalog("default", type="sql", uri=f"sqlite:///{catalog}", warehouse=f"file://{warehouse}").load_table(table)
    return loaded.scan().to_arrow().to_pylist()


def rows_duckdb(catalog, warehouse, table):
    import duckdb
    con = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    for name in ("httpfs", "avro", "iceberg"):  # iceberg needs the other two loaded first
        folder = importlib.util.find_spec(f"duckdb_extension_{name}").submodule_search_locations[0]
        con.execute(f"LOAD '{glob.glob(folder + '/extensions/*/*.duckdb_extension')[0]}'")
    con.execute("SET TimeZone = 'UTC'")
    namespace, name = table.split(".")
    with sqlite3.connect(f"file:{catalog}?mode=ro", uri=True) as db:
        (metadata,) = db.execute("select metadata_location from iceberg_tables where table_namespace = ? and table_name = ?", (namespace, name)).fetchone()
    return con.execute(f"SELECT * FROM iceberg_scan('{metadata}')").to_arrow_table().to_pylist()


def same(got, want, path, known):
    """Compares a value of the table with one of the input. Fields of the input that are null everywhere may have no column."""
    if isinstance(want, dict):
        for key, value in want.items():
            if got is None or key not in got:
                assert value is None or value in ({}, []), f"{path}.{key} is missing, want {value!r}"
            else:
                same(got[key], value, f"{path}.{key}", known)
        for key in (got or {}).keys() - want.keys():
            assert got[key] is None, f"{path}.{key} = {got[key]!r}, but the input has no such field"
    elif isinstance(want, list):
        assert isinstance(got, list) and len(got) == len(want), f"{path} = {got!r}, want {want!r}"
        for i, (g, w) in enumerate(zip(got, want)):
            same(g, w, f"{path}[{i}]", known)
    else:
        assert got == want and (got is None) == (want is None), f"{path} = {got!r}, want {want!r}"
        known[path] = known.get(path, 0) + (want is not None)


def check(rows, inputs, table):
    ids = collections.Counter(row["id"] for row in rows)
    assert len(rows) == len(inputs), f"{table}: {len(rows)} rows, want {len(inputs)}"
    assert max(ids.values()) == 1, f"{table}: twice: {[i for i, n in ids.items() if n > 1][:5]}"
    offsets = collections.defaultdict(list)
    known = {}
    for row in rows:
        offsets[row["kafka_partition"]].append(row["kafka_offset"])
        payload = {key: value for key, value in row.items() if not key.startswith("kafka_")}
        same(payload, inputs[row["id"]], table, known)
    for partition, seen in offsets.items():
        assert sorted(seen) == list(range(len(seen))), f"{table}: partition {partition}: offsets are not 0 to {len(seen) - 1}, each once"
    total = sum(row["properties"]["mag"] or 0 for row in rows)
    want = sum(line["properties"]["mag"] or 0 for line in inputs.values())
    assert abs(total - want) < 1e-6, f"{table}: magnitudes add up to {total}, want {want}"
    print(f"{table}: {len(rows)} rows, {sum(known.values())} values exact, magnitudes {total:.2f}")


def main():
    reader, catalog, warehouse, path, *tables = sys.argv[1:]
    with open(path) as lines:
        inputs = {line["id"]: line for line in map(json.loads, lines)}
    for table in tables:
        check({"pyiceberg": rows_pyiceberg, "duckdb": rows_duckdb}[reader](catalog, warehouse, table), inputs, table)


if __name__ == "__main__":
    main()
