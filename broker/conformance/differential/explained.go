package differential

// Known lists the differences that are known, and why they are there.
func Known() []Explanation {
	return append(kafkaDiffers(), kfakeDiffers()...)
}

// kafkaDiffers is where Apache Kafka 3.9.1 answers otherwise than Firn.
func kafkaDiffers() []Explanation {
	known := []Explanation{
		// What Firn does not do.
		{API: "Produce", Tag: "old format", Ends: true, Why: "message sets of the formats before record batches are refused with UNSUPPORTED_FOR_MESSAGE_FORMAT, not converted"},
		{API: "FindCoordinator", Tag: "*format*", Ends: true, Why: "and with acks=0 the connection is closed, as for every error"},
		{API: "Fetch", Tag: "old format", Why: "record batches are not converted to the formats before"},
		{API: "InitProducerID", Tag: "transactional", Why: "there are no transactions: TRANSACTIONAL_ID_AUTHORIZATION_FAILED"},
		{API: "FindCoordinator", Tag: "transactional", Why: "there are no transactions: TRANSACTIONAL_ID_AUTHORIZATION_FAILED"},
		{API: "FindCoordinator", Tag: "share group", Firn: "INVALID_REQUEST", Other: "COORDINATOR_NOT_AVAILABLE", Why: "there are no share groups; Kafka 3.9 has them behind a switch"},
		{API: "*", Path: "*.Configs[firn.journals]", Other: absent, Why: "a config of Firn's own"},
		{API: "DescribeConfigs", Path: "*.ConfigSynonyms[*", Why: "there are no configs of brokers behind those of topics: a config is its own only synonym"},
		{API: "CreateTopics", Tag: "two replicas", Ends: true, Why: "every replication factor is accepted and reported as 1: the object store replicates"},
		{API: "OffsetCommit", Tag: "no group", Firn: "INVALID_GROUP_ID", Ends: true, Why: "the group without a name keeps no offsets (Kafka lets it, deprecated by KIP-289)"},

		{API: "OffsetFetch", Path: "*Topics[*]", Firn: absent, Why: "to commit -1 takes an offset back; Kafka lists it, as an offset that is -1"},

		// What Firn does at another moment.
		{API: "Metadata", Tag: "creates", Path: "Topics*", Ends: false, Why: "a topic that is created because a client asks for it is in the first answer; Kafka says UNKNOWN_TOPIC_OR_PARTITION until it is there"},
		{API: "JoinGroup", Path: "Generation", Ends: true, Why: forgotten + ", so that its generations begin anew"},
		{API: "DescribeGroups", Path: "Groups[*].State", Firn: "Dead", Other: "Empty", Why: forgotten},
		{API: "DescribeGroups", Path: "Groups[*].ProtocolType", Firn: "", Other: "consumer", Why: forgotten},
		{API: "ListGroups", Path: "Groups[*]", Firn: absent, Other: "row", Why: forgotten},
		{API: "DeleteGroups", Firn: "GROUP_ID_NOT_FOUND", Other: "NONE", Why: forgotten},
		{API: "OffsetDelete", Path: "ErrorCode", Firn: "GROUP_ID_NOT_FOUND", Other: "NONE", Why: forgotten},
		{API: "OffsetDelete", Path: "Topics[*]", Firn: absent, Other: "row", Why: forgotten},
		{API: "OffsetCommit", Firn: "ILLEGAL_GENERATION", Other: "UNKNOWN_MEMBER_ID", Why: forgotten},
		{API: "Produce", Tag: "*transactional*", Ends: true, Why: "Kafka refuses all of a request that has transactional records, Firn the partition that they are for"},

		// What Kafka in KRaft mode does not do any more.
		{API: "Offset*", Tag: "zookeeper", Ends: true, Why: "version 0 was about offsets in ZooKeeper, and is UNSUPPORTED_VERSION with KRaft; here they are the group's, as of version 1"},

		// What Kafka does by accident.
		{API: "DescribeConfigs", Versions: Range{0, 0}, Path: "*.IsDefault", Firn: "true", Other: "false", Why: "Kafka leaves the field of version 0 as false, whatever the config"},
		{API: "DescribeTopicPartitions", Firn: "INVALID_TOPIC_EXCEPTION", Other: "UNKNOWN_SERVER_ERROR", Why: "Kafka has no code for a topic without a name here"},
		{API: "*", Path: "*.AuthorizedOperations", Firn: "-2147483648", Why: "Kafka tells what may be done with topics that are not there"},
		{API: "Produce", Tag: "*codec*", Firn: "UNSUPPORTED_COMPRESSION_TYPE", Other: "UNKNOWN_SERVER_ERROR", Why: "Kafka has no code for a codec that nobody knows"},
		{API: "Produce", Firn: "INVALID_RECORD", Other: "UNKNOWN_SERVER_ERROR", Why: "Kafka has no code for a body that its codec cannot read"},
		{API: "Produce", Tag: "*magic*", Other: "CORRUPT_MESSAGE", Ends: true, Why: "a format of the future is UNSUPPORTED_FOR_MESSAGE_FORMAT: the same again would not help, which Kafka's code asks for; and Kafka refuses all of the request"},
		{API: "Produce", Tag: "*append time*", Other: "NONE", Ends: true, Why: "a producer that calls its time the broker's is refused; Kafka passes over it"},
		{API: "Produce", Tag: "*append time*", Firn: "-1", Ends: true, Why: "the same"},
		{API: "Produce", Tag: "*more*", Ends: true, Why: "bytes behind the batch are refused; Kafka leaves them out"},
		{API: "Produce", Versions: Range{-1, 2}, Firn: "UNSUPPORTED_COMPRESSION_TYPE", Ends: true, Why: "zstd needs version 7 of Produce; Kafka forgets to look below version 3"},
		{API: "Produce", Path: "*.BaseOffset", Versions: Range{-1, 2}, Firn: "-1", Ends: true, Why: "the same"},
		{API: "FindCoordinator", Tag: "*more*", Firn: "closed", Ends: true, Why: "with acks=0 the connection is closed where Kafka sees no mistake"},
		{API: "FindCoordinator", Tag: "*append time*", Firn: "closed", Ends: true, Why: "with acks=0 the connection is closed where Kafka sees no mistake"},
		{API: "FindCoordinator", Path: "*ErrorCode", Firn: absent, Other: "NONE", Ends: true, Why: "the same"},
		{API: "Produce", Tag: "*nothing*", Versions: Range{-1, 2}, Firn: "INVALID_RECORD", Other: "NONE", Why: "no records are a mistake; Kafka forgets to look below version 3"},
		{API: "Produce", Firn: "INVALID_REQUIRED_ACKS", Other: "INVALID_RECORD", Why: "of two mistakes one is told"},
		{API: "*AlterConfigs", Firn: "UNKNOWN_TOPIC_OR_PARTITION", Why: "of two mistakes one is told"},
		{API: "Produce", Path: "*.LogStartOffset", Firn: "-1", Why: "Kafka tells the log start beside some errors; no client reads it there"},
		{API: "Produce", Path: "*.LogAppendTime", Firn: "-1", Other: "some", Why: "for a duplicate Kafka gives the batch's own time as the time of its append"},
		{API: "ListOffsets", Tag: "latest time", Path: "*.Offset", Why: "Kafka takes deleted records into account, and those without a time"},
		{API: "ListOffsets", Tag: "latest time", Path: "*.Timestamp", Why: "the same"},
	}
	for _, name := range []string{"compression.*.level", "*.replication.throttled.replicas", "local.retention.*", "remote.*", "message.downconversion.enable",
		"message.format.version", "message.timestamp.difference.max.ms"} {
		known = append(known, Explanation{API: "*", Path: "*.Configs[" + name + "]", Firn: absent,
			Why: "a config of what Firn does not do: recompression, replication, tiered storage, old formats"})
	}
	return against("kafka", known)
}

// kfakeDiffers is where kfake answers otherwise than Firn.
func kfakeDiffers() []Explanation {
	return against("kfake", nil)
}

const forgotten = "an empty group without offsets is forgotten at once, in Kafka at the next clean-up, within ten minutes"

func against(server string, known []Explanation) []Explanation {
	for i := range known {
		known[i].Against = server
	}
	return known
}
