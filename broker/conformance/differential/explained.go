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
		{API: "DescribeConfigs", Path: "*.ConfigSynonyms[*", Why: "behind a topic's config stands the default of the broker; Kafka also has names of it in other units, and what its own settings say"},
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
		{API: "Produce", Tag: "*cut*", Versions: Range{-1, 2}, Firn: "INVALID_RECORD", Ends: true, Why: "a batch that ends early is a mistake; Kafka forgets to look below version 3"},
		{API: "*", Tag: "retention.bytes -5", Firn: "INVALID_CONFIG", Other: "NONE", Ends: true, Why: "retention.bytes has no negative value but -1; Kafka takes all for the same"},
		{API: "Fetch", Firn: "UNKNOWN_TOPIC_ID", Other: "UNKNOWN_TOPIC_OR_PARTITION", Why: "of a topic that was deleted within a session Kafka still knows the name"},
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
	return against("kfake", []Explanation{
		{API: "CreateTopics", Path: "*.Configs[*", Other: absent, Why: "kfake tells no configs of new topics"},
		{API: "DescribeConfigs", Path: "*.ConfigSynonyms[*", Why: "no defaults of brokers"},
		{API: "InitProducerID", Tag: "transactional", Why: "kfake has transactions"},
		{API: "FindCoordinator", Tag: "transactional", Why: "kfake has transactions"},
		{API: "*", Tag: "zookeeper", Ends: true, Why: "version 0 was about offsets in ZooKeeper"},
		{API: "CreateTopics", Tag: "two replicas", Ends: true, Why: "every replication factor is accepted"},
		{API: "*", Tag: "*old format*", Ends: true, Why: "kfake takes no message sets either, with codes of its own"},
		{API: "Produce", Path: "*.BaseOffset", Firn: "-1", Other: "0", Why: "kfake leaves an offset of 0 beside errors"},
		{API: "Produce", Path: "*.LogStartOffset", Firn: "-1", Why: "kfake tells the log start beside errors"},
		{API: "Produce", Firn: "INVALID_RECORD", Ends: true, Why: "kfake looks at batches less closely"},
		{API: "Produce", Tag: "*append time*", Ends: true, Why: "kfake looks at batches less closely"},
		{API: "Produce", Firn: "UNSUPPORTED_COMPRESSION_TYPE", Ends: true, Why: "kfake takes zstd in every version"},
		{API: "Produce", Tag: "*transactional*", Ends: true, Why: "kfake has transactions"},
		{API: "Produce", Firn: "NONE", Other: "OUT_OF_ORDER_SEQUENCE_NUMBER", Ends: true, Why: "a producer that a partition does not know may begin with any sequence, as in Kafka; in kfake with 0"},
		{API: "Produce", Firn: "0", Other: "-1", Ends: true, Why: "the same"},
		{API: "Produce", Other: "INVALID_REQUIRED_ACKS", Why: "of two mistakes one is told"},
		{API: "FindCoordinator", Path: "connection", Firn: "closed", Why: "kfake leaves the connection open after an error with acks=0"},
		{API: "FindCoordinator", Path: "*ErrorCode", Firn: absent, Why: "the same"},
		{API: "FindCoordinator", Path: "Coordinators*", Firn: absent, Why: "the same"},
		{API: "*", Other: "GROUP_ID_NOT_FOUND", Why: "kfake says so of a group that is not there where brokers say UNKNOWN_MEMBER_ID, or nothing"},
		{API: "OffsetFetch", Path: "*Topics[*]", Other: absent, Why: "and has no offsets of it, not even -1"},
		{API: "OffsetFetch", Path: "*.Metadata", Firn: "", Other: "null", Why: "kfake's offsets without metadata have null"},
		{API: "OffsetCommit", Firn: "UNKNOWN_TOPIC_OR_PARTITION", Why: "of two mistakes one is told"},
		{API: "OffsetCommit", Firn: "UNKNOWN_MEMBER_ID", Other: "ILLEGAL_GENERATION", Why: "kfake looks at the generation first"},
		{API: "OffsetCommit", Tag: "no group", Ends: true, Why: "the group without a name keeps no offsets"},
		{API: "LeaveGroup", Path: "Members[*]", Other: absent, Why: "kfake does not name who leaves a group that is not there"},
		{API: "DescribeConfigs", Firn: "INVALID_TOPIC_EXCEPTION", Why: "kfake lets a topic have a name that none can have"},
		{API: "CreateTopics", Firn: "INVALID_TOPIC_EXCEPTION", Ends: true, Why: "kfake lets a topic have a name that none can have"},
		{API: "*", Path: "*AuthorizedOperations", Firn: "8096", Other: "8184", Why: "kfake allows what a cluster does not have"},
		{API: "IncrementalAlterConfigs", Firn: "INVALID_CONFIG", Other: "INVALID_REQUEST", Why: "kfake has another code for what is no list"},
		{API: "DescribeConfigs", Path: "*.Configs[*]", Other: absent, Why: "kfake has fewer configs"},
		{API: "*AlterConfigs", Other: "NONE", Ends: true, Why: "kfake looks at configs less closely"},
		{API: "CreateTopics", Other: "NONE", Ends: true, Why: "kfake looks at new topics less closely"},
		{API: "Fetch", Path: "*.HighWatermark", Firn: "-1", Why: "kfake tells offsets beside errors"},
		{API: "Fetch", Path: "*.LastStableOffset", Firn: "-1", Why: "kfake tells offsets beside errors"},
		{API: "Fetch", Path: "*.LogStartOffset", Firn: "-1", Why: "kfake tells offsets beside errors"},
		{API: "Metadata", Path: "Topics[*]", Firn: absent, Ends: true, Why: "kfake lets a topic have a name that none can have"},
		{API: "Metadata", Firn: "INVALID_TOPIC_EXCEPTION", Why: "kfake lets a topic have a name that none can have"},
		{API: "IncrementalAlterConfigs", Firn: "INVALID_REQUEST", Other: "UNKNOWN_TOPIC_OR_PARTITION", Why: "kfake has no rule for the topic without a name"},
		{API: "DeleteRecords", Path: "Topics[]*", Why: "kfake has no rule for the topic without a name"},
		{API: "DescribeConfigs", Path: "*.Configs[segment.bytes].Value", Why: "kfake's segments are smaller"},
		{API: "DescribeConfigs", Path: "*.ConfigType", Other: "0", Why: "kfake does not know the types of all configs"},
		{API: "DescribeProducers", Path: "*.ActiveProducers[*]", Other: absent, Why: "kfake lists those of transactions only"},
		{API: "JoinGroup", Path: "Generation", Ends: true, Why: "an empty group without offsets is forgotten at once, in kfake it stays"},
		{API: "ListOffsets", Tag: "latest time", Firn: "UNSUPPORTED_VERSION", Why: "kfake knows all special times in all versions"},
	})
}

const forgotten = "an empty group without offsets is forgotten at once, in Kafka at the next clean-up, within ten minutes"

func against(server string, known []Explanation) []Explanation {
	for i := range known {
		known[i].Against = server
	}
	return known
}
