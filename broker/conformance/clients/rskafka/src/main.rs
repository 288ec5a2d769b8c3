//! rskafka: roundtrip BOOTSTRAP. The library has no groups: what is read of each partition is read from its start, in two steps.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::ClientBuilder;
use rskafka::record::{Record, RecordAndOffset};

const TOPIC: &str = "rskafka";
const PARTITIONS: i32 = 3;
const EACH: i64 = 40; // records of a codec and partition
const LIMIT: Duration = Duration::from_secs(60);

fn codecs() -> [(&'static str, Compression); 5] {
    [
        ("none", Compression::NoCompression),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ]
}

/// The records of a codec; the first one has no value.
fn records(codec: &str) -> Vec<Record> {
    let record = |i: i64| Record {
        key: Some(format!("{codec}-{i}").into_bytes()),
        value: (i > 0).then(|| format!("{codec} {i} {}", "snow ".repeat(40)).into_bytes()),
        headers: BTreeMap::from([("codec".to_string(), codec.as_bytes().to_vec())]),
        timestamp: DateTime::<Utc>::from_timestamp_millis(1_700_000_000_000 + i).expect("a time"),
    };
    (0..EACH).map(record).collect()
}

/// Reads from an offset on until so many records have come.
async fn read(partition: &PartitionClient, from: i64, count: usize) -> Result<Vec<RecordAndOffset>, Box<dyn Error>> {
    let mut got: Vec<RecordAndOffset> = Vec::new();
    while got.len() < count {
        let next = from + got.len() as i64;
        let (more, _) = partition.fetch_records(next, 1..1_000_000, 1_000).await?;
        got.extend(more);
    }
    got.truncate(count);
    Ok(got)
}

async fn round_trip(bootstrap: String) -> Result<(), Box<dyn Error>> {
    let client = ClientBuilder::new(vec![bootstrap]).build().await?;
    client.controller_client()?.create_topic(TOPIC, PARTITIONS, 1, 5_000).await?;
    for p in 0..PARTITIONS {
        let partition = client.partition_client(TOPIC, p, UnknownTopicHandling::Retry).await?;
        let mut want = Vec::new();
        for (codec, compression) in codecs() {
            let offsets = partition.produce(records(codec), compression).await?;
            let next = want.len() as i64;
            if offsets != (next..next + EACH).collect::<Vec<_>>() {
                return Err(format!("partition {p}: {codec} is written at {offsets:?}, not from {next} on").into());
            }
            want.extend(records(codec));
        }
        if partition.get_offset(OffsetAt::Latest).await? != want.len() as i64 {
            return Err(format!("partition {p} does not end at {}", want.len()).into());
        }
        let half = want.len() / 2;
        let mut got = read(&partition, 0, half).await?;
        got.extend(read(&partition, half as i64, want.len() - half).await?);
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            if got.offset != i as i64 || got.record != *want {
                return Err(format!("partition {p}, offset {i}: {got:?}, not {want:?}").into());
            }
        }
    }
    Ok(())
}

/// The version that Cargo.toml asks for, and no other.
fn version() -> &'static str {
    let manifest = include_str!("../Cargo.toml");
    manifest.lines().find_map(|l| l.strip_prefix("rskafka = \"=")?.strip_suffix('"')).unwrap_or("?")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bootstrap = env::args().nth(1).ok_or("usage: roundtrip BOOTSTRAP")?;
    tokio::time::timeout(LIMIT, round_trip(bootstrap)).await??;
    println!("{}\tfive codecs, partitions read in two steps; it has no groups and no transactions", version());
    Ok(())
}
