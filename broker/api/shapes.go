package api

// shapeOf gives the form of an API's requests, as the Kafka protocol guide lists their fields; nil for an API that has none here.
// A test holds every one of them against kmsg, in every version.
func shapeOf(key int16) shape {
	switch key {
	case 0: // Produce
		return shape{str.since(3), i16, i32, rows(str.until(12), uuid.since(13), rows(i32, octets))}
	case 1: // Fetch
		return shape{i32.until(14), i32, i32, i32.since(3), i8.since(4), i32.since(7), i32.since(7),
			rows(str.until(12), uuid.since(13), rows(i32, i32.since(9), i64, i32.since(12), i64.since(5), i32)),
			rows(str.until(12), uuid.since(13), list(i32)).since(7), str.since(11), tag(1, i32, i64)}
	case 2: // ListOffsets
		return shape{i32, i8.since(2), rows(str, rows(i32, i32.since(4), i64, i32.until(0))), i32.since(10)}
	case 3: // Metadata
		return shape{rows(uuid.since(10), str), i8.since(4), i8.since(8).until(10), i8.since(8)}
	case 8: // OffsetCommit
		return shape{str, i32.since(1), str.since(1), str.since(7), i64.since(2).until(4),
			rows(str.until(9), uuid.since(10), rows(i32, i64, i64.since(1).until(1), i32.since(6), str))}
	case 9: // OffsetFetch
		return shape{str.until(7), rows(str, list(i32)).until(7),
			rows(str, str.since(9), i32.since(9), rows(str.until(9), uuid.since(10), list(i32))).since(8), i8.since(7)}
	case 10: // FindCoordinator
		return shape{str.until(3), i8.since(1), list(str).since(4)}
	case 11: // JoinGroup
		return shape{str, i32, i32.since(1), str, str.since(5), str, rows(str, octets), str.since(8)}
	case 12: // Heartbeat
		return shape{str, i32, str, str.since(3)}
	case 13: // LeaveGroup
		return shape{str, str.until(2), rows(str, str, str.since(5)).since(3)}
	case 14: // SyncGroup
		return shape{str, i32, str, str.since(3), str.since(5), str.since(5), rows(str, octets)}
	case 15: // DescribeGroups
		return shape{list(str), i8.since(3)}
	case 16: // ListGroups
		return shape{list(str).since(4), list(str).since(5)}
	case 18: // ApiVersions
		return shape{str.since(3), str.since(3), str.since(5), i32.since(5)}
	case 19: // CreateTopics
		return shape{rows(str, i32, i16, rows(i32, list(i32)), rows(str, str)), i32, i8.since(1)}
	case 20: // DeleteTopics
		return shape{list(str).until(5), rows(str, uuid).since(6), i32}
	case 21: // DeleteRecords
		return shape{rows(str, rows(i32, i64)), i32}
	case 22: // InitProducerID
		return shape{str, i32, i64.since(3), i16.since(3)}
	case 23: // OffsetForLeaderEpoch
		return shape{i32.since(3), rows(str, rows(i32, i32.since(2), i32))}
	case 29: // DescribeACLs
		return shape{i8, str, i8.since(1), str, str, i8, i8}
	case 30, 31: // CreateACLs, DeleteACLs
		return shape{rows(i8, str, i8.since(1), str, str, i8, i8)}
	case 32: // DescribeConfigs
		return shape{rows(i8, str, list(str)), i8.since(1), i8.since(3)}
	case 33: // AlterConfigs
		return shape{rows(i8, str, rows(str, str)), i8}
	case 35: // DescribeLogDirs
		return shape{rows(str, list(i32))}
	case 37: // CreatePartitions
		return shape{rows(str, i32, rows(list(i32))), i32, i8}
	case 42: // DeleteGroups
		return shape{list(str)}
	case 43: // ElectLeaders
		return shape{i8.since(1), rows(str, list(i32)), i32}
	case 44: // IncrementalAlterConfigs
		return shape{rows(i8, str, rows(str, i8, str)), i8}
	case 46: // ListPartitionReassignments
		return shape{i32, rows(str, list(i32))}
	case 47: // OffsetDelete
		return shape{str, rows(str, rows(i32))}
	case 60: // DescribeCluster
		return shape{i8, i8.since(1), i8.since(2)}
	case 61: // DescribeProducers
		return shape{rows(str, list(i32))}
	case 68: // ConsumerGroupHeartbeat
		return shape{str, str, i32, str, str, i32, list(str), str.since(1), str, rows(uuid, list(i32))}
	case 69: // ConsumerGroupDescribe
		return shape{list(str), i8}
	case 75: // DescribeTopicPartitions
		return shape{rows(str), i32, maybe(str, i32)}
	}
	return nil
}
