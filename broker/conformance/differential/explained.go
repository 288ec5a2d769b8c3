package differential

// Known lists the differences that are known, and why they are there.
func Known() []Explanation {
	return append(kafkaDiffers(), kfakeDiffers()...)
}

// kafkaDiffers is where Apache Kafka 3.9.1 answers otherwise than Firn.
func kafkaDiffers() []Explanation {
	known := []Explanation{
		// What Firn does not do.
		{API: "Produce", Versions: Range{-1, 2}, Tag: "old format", Path: "*.ErrorCode", Firn: "UNSUPPORTED_FOR_MESSAGE_FORMAT", Other: "NONE", Ends: true, Why: "message sets of the formats before record batches are refused, not converted"},
		{API: "FindCoordinator", Tag: "*format*", Path: "connection", Firn: "closed", Other: absent, Ends: true, Why: "and with acks=0 the connection is closed, as for every error"},
		{API: "FindCoordinator", Tag: "*format*", Firn: absent, Ends: true, Why: "and a closed connection has no answer"},
		{API: "Fetch", Tag: "old format", Path: "*.ErrorCode", Firn: "UNSUPPORTED_VERSION", Other: "NONE", Why: "record batches are not converted to the formats before"},
		{API: "Fetch", Tag: "old format", Path: "*.ErrorCode", Firn: "UNSUPPORTED_VERSION", Other: "OFFSET_OUT_OF_RANGE", Why: "and it does not matter which are asked for"},
		{API: "InitProducerID", Tag: "transactional", Path: "ErrorCode", Firn: "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Other: "NONE", Why: "there are no transactions"},
		{API: "FindCoordinator", Tag: "transactional", Path: "*ErrorCode", Firn: "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Other: "NONE", Why: "there are no transactions"},
		{API: "FindCoordinator", Tag: "share group", Path: "*ErrorCode", Firn: "INVALID_REQUEST", Other: "COORDINATOR_NOT_AVAILABLE", Why: "there are no share groups; Kafka 3.9 has them behind a switch"},
		{API: "*", Path: "*.Configs[firn.journals]", Firn: "row", Other: absent, Why: "a config of Firn's own"},
		{API: "DescribeConfigs", Path: "*.Configs[*.ms].ConfigSynonyms[log.*.ms]", Firn: "row", Other: absent, Why: "behind a topic's config stands the default of the broker; Kafka has it in hours, or names it only if it was set"},
		{API: "CreateTopics", Tag: "two replicas", Path: "*.ErrorCode", Firn: "NONE", Other: "INVALID_REPLICATION_FACTOR", Ends: true, Why: "every replication factor is accepted and reported as 1: the object store replicates"},
		{API: "CreateTopics", Tag: "alike", Path: "*.ErrorCode", Other: "INVALID_TOPIC_EXCEPTION", Ends: true, Why: "topics may have names that differ in . and _ only; Kafka's metrics could not tell them apart"},
		{API: "OffsetCommit", Tag: "no group", Path: "*.ErrorCode", Firn: "INVALID_GROUP_ID", Ends: true, Why: "the group without a name keeps no offsets (Kafka lets it, deprecated by KIP-289)"},
		{API: "OffsetFetch", Path: "*Topics[*]", Firn: absent, Other: "row without offsets", Why: "to commit -1 takes an offset back; Kafka lists it, as an offset that is -1"},

		// What Firn does at another moment.
		{API: "Metadata", Tag: "creates", Path: "Topics[*].ErrorCode", Firn: "NONE", Other: "UNKNOWN_TOPIC_OR_PARTITION", Why: "a topic that is created because a client asks for it is in the first answer; Kafka says UNKNOWN_TOPIC_OR_PARTITION until it is there"},
		{API: "JoinGroup", Path: "Generation", Firn: "1", Ends: true, Why: forgotten + ", so that its generations begin anew"},
		{API: "DescribeGroups", Path: "Groups[*].State", Firn: "Dead", Other: "Empty", Why: forgotten},
		{API: "DescribeGroups", Path: "Groups[*].ProtocolType", Firn: "", Other: "consumer", Why: forgotten},
		{API: "ListGroups", Path: "Groups[*]", Firn: absent, Other: "row", Why: forgotten},
		{API: "DeleteGroups", Path: "*.ErrorCode", Firn: "GROUP_ID_NOT_FOUND", Other: "NONE", Why: forgotten},
		{API: "OffsetDelete", Path: "ErrorCode", Firn: "GROUP_ID_NOT_FOUND", Other: "NONE", Why: forgotten},
		{API: "OffsetCommit", Path: "*.ErrorCode", Firn: "ILLEGAL_GENERATION", Other: "UNKNOWN_MEMBER_ID", Why: forgotten},
		{API: "Produce", Tag: "*transactional*", Path: "*.ErrorCode", Other: "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Ends: true, Why: "Kafka refuses all of a request that has transactional records, Firn the partition that they are for"},

		// What Kafka in KRaft mode does not do any more.
		{API: "Offset*", Versions: Range{-1, 0}, Tag: "zookeeper", Path: "*.ErrorCode", Other: "UNSUPPORTED_VERSION", Ends: true, Why: "version 0 was about offsets in ZooKeeper, and is UNSUPPORTED_VERSION with KRaft; here they are the group's, as of version 1"},
		{API: "OffsetFetch", Versions: Range{-1, 0}, Tag: "zookeeper", Path: "Topics[*]", Firn: "row", Other: "row without offsets", Why: "and there are none that Kafka could tell"},

		// What Kafka does by accident.
		{API: "DescribeConfigs", Versions: Range{-1, 0}, Path: "*.IsDefault", Firn: "true", Other: "false", Why: "Kafka leaves the field of version 0 as false, whatever the config"},
		{API: "DescribeTopicPartitions", Path: "Topics[].ErrorCode", Firn: "INVALID_TOPIC_EXCEPTION", Other: "UNKNOWN_SERVER_ERROR", Why: "Kafka has no code for a topic without a name here"},
		{API: "*", Path: "Topics[*].AuthorizedOperations", Firn: "-2147483648", Refused: true, Why: "Kafka tells what may be done with topics that are not there"},
		{API: "Produce", Tag: "*codec*", Path: "*.ErrorCode", Firn: "UNSUPPORTED_COMPRESSION_TYPE", Other: "UNKNOWN_SERVER_ERROR", Why: "Kafka has no code for a codec that nobody knows"},
		{API: "Produce", Tag: "*body*", Path: "*.ErrorCode", Firn: "INVALID_RECORD", Other: "UNKNOWN_SERVER_ERROR", Why: "Kafka has no code for a body that its codec cannot read"},
		{API: "Produce", Tag: "*magic*", Path: "*.ErrorCode", Other: "CORRUPT_MESSAGE", Ends: true, Why: "a format of the future is UNSUPPORTED_FOR_MESSAGE_FORMAT: the same again would not help, which Kafka's code asks for; and Kafka refuses all of the request"},
		{API: "Produce", Tag: "*append time*", Path: "*.ErrorCode", Firn: "INVALID_RECORD", Other: "NONE", Ends: true, Why: "a producer that calls its time the broker's is refused; Kafka passes over it"},
		{API: "Produce", Tag: "*more*", Path: "*.ErrorCode", Firn: "INVALID_RECORD", Other: "NONE", Ends: true, Why: "bytes behind the batch are refused; Kafka leaves them out"},
		{API: "Produce", Versions: Range{-1, 2}, Path: "*.ErrorCode", Firn: "UNSUPPORTED_COMPRESSION_TYPE", Ends: true, Why: "zstd needs version 7 of Produce; Kafka forgets to look below version 3, and says what else is wrong, if anything"},
		{API: "Produce", Versions: Range{-1, 2}, Tag: "*cut*", Path: "*.ErrorCode", Firn: "INVALID_RECORD", Other: "NONE", Ends: true, Why: "a batch that ends early is a mistake; Kafka forgets to look below version 3"},
		{API: "Produce", Versions: Range{-1, 2}, Tag: "*cut*", Path: "*.ErrorCode", Firn: "INVALID_RECORD", Other: "INVALID_REQUIRED_ACKS", Why: "and sees the next mistake"},
		{API: "*", Tag: "retention.bytes -5", Path: "*.ErrorCode", Firn: "INVALID_CONFIG", Other: "NONE", Ends: true, Why: "retention.bytes has no negative value but -1; Kafka takes all for the same"},
		{API: "Fetch", Versions: Range{13, 99}, Path: "*.ErrorCode", Firn: "UNKNOWN_TOPIC_ID", Other: "UNKNOWN_TOPIC_OR_PARTITION", Why: "of a topic that was deleted within a session Kafka still knows the name"},
		{API: "Produce", Tag: "*twice*", Path: "*.ErrorCode", Firn: "INVALID_REQUIRED_ACKS", Other: "INVALID_RECORD", Why: "of two mistakes, two batches and acks=2, Kafka tells the batches"},
		{API: "Produce", Path: "*.LogStartOffset", Firn: "-1", Refused: true, Why: "Kafka tells the log start beside some errors; no client reads it there"},
		{API: "Produce", Tag: "perhaps again", Path: "*.LogAppendTime", Firn: "-1", Other: "some", Why: "for a duplicate Kafka gives the batch's own time as the time of its append"},
		{API: "ListOffsets", Tag: "latest time of what is left", Path: "*.Offset", Why: "Kafka takes deleted records into account"},
		{API: "ListOffsets", Tag: "latest time of what is left", Path: "*.Timestamp", Why: "Kafka takes deleted records into account"},
		{API: "ListOffsets", Tag: "latest time of what is left", Path: "*.LeaderEpoch", Why: "Kafka takes deleted records into account"},
		{API: "ListOffsets", Tag: "latest time of what may have none", Path: "*.Offset", Firn: "-1", Why: "Kafka takes records without a time into account"},
		{API: "ListOffsets", Tag: "latest time of what may have none", Path: "*.LeaderEpoch", Firn: "-1", Other: "some", Why: "Kafka takes records without a time into account"},
	}
	for _, name := range []string{"compression.*.level", "*.replication.throttled.replicas", "local.retention.*", "remote.*", "message.downconversion.enable",
		"message.timestamp.difference.max.ms"} {
		known = append(known, Explanation{API: "*", Path: "*.Configs[" + name + "]", Firn: absent, Other: "row",
			Why: "a config of what Firn does not do: recompression, replication, tiered storage, old formats"})
	}
	return against("kafka", known)
}

// kfakeDiffers is where kfake answers otherwise than Firn.
func kfakeDiffers() []Explanation {
	return against("kfake", []Explanation{
		{API: "CreateTopics", Path: "*.Configs[*", Firn: "row", Other: absent, Why: "kfake tells no configs of new topics"},
		{API: "DescribeConfigs", Path: "*.ConfigSynonyms[*", Why: "kfake has other defaults of brokers"},
		{API: "InitProducerID", Tag: "transactional", Path: "ErrorCode", Firn: "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Other: "NONE", Why: "kfake has transactions"},
		{API: "FindCoordinator", Tag: "transactional", Path: "*ErrorCode", Firn: "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Other: "NONE", Why: "kfake has transactions"},
		{API: "CreateTopics", Tag: "two replicas", Path: "*.ErrorCode", Ends: true, Why: "every replication factor is accepted"},
		{API: "Produce", Path: "*.BaseOffset", Firn: "-1", Other: "0", Refused: true, Why: "kfake leaves an offset of 0 beside errors"},
		{API: "Produce", Path: "*.LogStartOffset", Firn: "-1", Refused: true, Why: "kfake tells the log start beside errors"},
		{API: "Produce", Path: "*.ErrorCode", Firn: "INVALID_RECORD", Ends: true, Why: "kfake looks at batches less closely"},
		{API: "Produce", Path: "*.ErrorCode", Firn: "UNSUPPORTED_COMPRESSION_TYPE", Other: "CORRUPT_MESSAGE", Why: "kfake has one code for all that it cannot read"},
		{API: "Produce", Path: "*.ErrorCode", Firn: "UNSUPPORTED_COMPRESSION_TYPE", Other: "NONE", Ends: true, Why: "kfake takes zstd in every version"},
		{API: "Produce", Tag: "*transactional*", Path: "*.ErrorCode", Firn: "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Other: "INVALID_PRODUCER_ID_MAPPING", Ends: true, Why: "kfake has transactions"},
		{API: "Produce", Path: "*.ErrorCode", Firn: "NONE", Other: "OUT_OF_ORDER_SEQUENCE_NUMBER", Ends: true, Why: "a producer that a partition does not know may begin with any sequence, as in Kafka; in kfake with 0"},
		{API: "Produce", Path: "*.LogStartOffset", Firn: "0", Other: "-1", Why: "kfake does not tell the log start of a duplicate"},
		{API: "Produce", Path: "*.ErrorCode", Firn: "UNKNOWN_TOPIC_OR_PARTITION", Other: "INVALID_REQUIRED_ACKS", Why: "of two mistakes kfake tells that of the request"},
		{API: "FindCoordinator", Path: "connection", Firn: "closed", Other: absent, Why: "kfake leaves the connection open after an error with acks=0"},
		{API: "FindCoordinator", Path: "*ErrorCode", Firn: absent, Why: "kfake leaves the connection open after an error with acks=0"},
		{API: "FindCoordinator", Path: "Coordinators*", Firn: absent, Why: "kfake leaves the connection open after an error with acks=0"},
		{API: "*", Path: "*ErrorCode", Other: "GROUP_ID_NOT_FOUND", Why: "kfake says so of a group that is not there where brokers say UNKNOWN_MEMBER_ID, or nothing"},
		{API: "OffsetFetch", Path: "*Topics[*]", Firn: "row without offsets", Other: absent, Why: "and has no offsets of it, not even -1"},
		{API: "OffsetFetch", Path: "*.Metadata", Firn: "", Other: "null", Why: "kfake's offsets without metadata have null"},
		{API: "OffsetCommit", Path: "*.ErrorCode", Firn: "UNKNOWN_TOPIC_OR_PARTITION", Why: "of two mistakes kfake tells that of the member"},
		{API: "OffsetCommit", Path: "*.ErrorCode", Firn: "UNKNOWN_MEMBER_ID", Other: "ILLEGAL_GENERATION", Why: "kfake looks at the generation first"},
		{API: "OffsetCommit", Tag: "no group", Path: "*.ErrorCode", Firn: "INVALID_GROUP_ID", Ends: true, Why: "the group without a name keeps no offsets"},
		{API: "OffsetCommit", Path: "*.ErrorCode", Firn: "OFFSET_METADATA_TOO_LARGE", Other: "NONE", Ends: true, Why: "kfake keeps metadata of any length"},
		{API: "OffsetForLeaderEpoch", Path: "*.EndOffset", Firn: "-1", Other: "0", Why: "kfake lets the epoch that is none end at 0"},
		{API: "OffsetForLeaderEpoch", Path: "*.LeaderEpoch", Firn: "-1", Other: "some", Why: "kfake lets the epoch that is none end at 0"},
		{API: "LeaveGroup", Path: "Members[*]", Firn: "row", Other: absent, Why: "kfake does not name who leaves a group that is not there"},
		{API: "CreateTopics", Path: "*.ErrorCode", Firn: "INVALID_TOPIC_EXCEPTION", Ends: true, Why: "kfake lets a topic have a name that none can have"},
		{API: "Metadata", Path: "Topics[*]", Firn: absent, Ends: true, Why: "kfake lets a topic have a name that none can have"},
		{API: "Metadata", Path: "Topics[*].ErrorCode", Firn: "INVALID_TOPIC_EXCEPTION", Why: "kfake lets a topic have a name that none can have"},
		{API: "*", Path: "*AuthorizedOperations", Firn: "8096", Other: "8184", Why: "kfake allows what a cluster does not have"},
		{API: "IncrementalAlterConfigs", Path: "*.ErrorCode", Firn: "INVALID_CONFIG", Other: "INVALID_REQUEST", Why: "kfake has another code for what is no list"},
		{API: "IncrementalAlterConfigs", Path: "Resources[*].ErrorCode", Firn: "INVALID_REQUEST", Other: "UNKNOWN_TOPIC_OR_PARTITION", Why: "kfake has no rule for the topic without a name"},
		{API: "*AlterConfigs", Path: "*.ErrorCode", Other: "NONE", Ends: true, Why: "kfake looks at configs less closely"},
		{API: "CreateTopics", Path: "*.ErrorCode", Other: "NONE", Ends: true, Why: "kfake looks at new topics less closely"},
		{API: "DescribeConfigs", Path: "*.Configs[*]", Firn: "row", Other: absent, Why: "kfake has fewer configs"},
		{API: "DescribeConfigs", Path: "*.Configs[segment.bytes].Value", Firn: "1073741824", Other: "104857600", Why: "kfake's segments are smaller"},
		{API: "DescribeConfigs", Path: "*.ConfigType", Other: "0", Why: "kfake does not know the types of all configs"},
		{API: "Fetch", Path: "*.HighWatermark", Firn: "-1", Refused: true, Why: "kfake tells offsets beside errors"},
		{API: "Fetch", Path: "*.LastStableOffset", Firn: "-1", Refused: true, Why: "kfake tells offsets beside errors"},
		{API: "Fetch", Path: "*.LogStartOffset", Firn: "-1", Refused: true, Why: "kfake tells offsets beside errors"},
		{API: "DeleteRecords", Path: "*.LowWatermark", Firn: "-1", Refused: true, Why: "kfake leaves an offset of 0 beside errors"},
		{API: "*", Path: "Topics[]*", Why: "kfake lets a topic without a name be made, which other sequences then meet"},
		{API: "*", Path: "Resources[]*", Why: "kfake lets a topic without a name be made, which other sequences then meet"},
		{API: "*", Path: "Topics[bad name]*", Why: "kfake lets a topic with a bad name be made, which other sequences then meet"},
		{API: "*", Path: "Resources[bad name]*", Why: "kfake lets a topic with a bad name be made, which other sequences then meet"},
		{API: "DescribeProducers", Path: "*.ActiveProducers[*]", Firn: "row", Other: absent, Why: "kfake lists those of transactions only"},
		{API: "JoinGroup", Path: "Generation", Firn: "1", Ends: true, Why: "an empty group without offsets is forgotten at once, in kfake it stays"},
	})
}

const forgotten = "an empty group without offsets is forgotten at once, in Kafka at the next clean-up, within ten minutes"

func against(server string, known []Explanation) []Explanation {
	for i := range known {
		known[i].Against = server
	}
	return known
}
