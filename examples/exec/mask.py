"""A transform for Firn's exec: hides the middle of e-mail addresses, and adds their domain as a column.

It reads an Arrow stream and answers each batch with one batch. The kafka_ columns go through as they are. Needs pyarrow.
"""
import sys

import pyarrow as pa
import pyarrow.compute as pc


def transform(batch: pa.RecordBatch) -> pa.RecordBatch:
    if "email" not in batch.schema.names:  # no record of this batch has one
        return batch
    email = batch.column("email")
    if not pa.types.is_string(email.type):
        return batch.append_column("firn_error", pa.array(["email is no text"] * batch.num_rows, pa.string()))
    valid = pc.fill_null(pc.match_substring_regex(email, r"^[^@]+@[^@]+$"), True)
    # Rows with text in firn_error are rejected and become dead letters; the others have null there.
    error = pc.if_else(valid, pa.scalar(None, pa.string()), pa.scalar("email is no address"))
    batch = batch.set_column(batch.schema.get_field_index("email"), "email", pc.replace_substring_regex(email, r"^(.).*@", r"\1…@"))
    batch = batch.append_column("email_domain", pc.replace_substring_regex(email, r"^.*@", ""))
    return batch.append_column("firn_error", error)


def main() -> None:
    source = pa.ipc.open_stream(sys.stdin.buffer)
    sink = None
    for batch in source:
        result = transform(batch)
        if sink is None:
            sink = pa.ipc.new_stream(sys.stdout.buffer, result.schema)
        sink.write_batch(result)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
