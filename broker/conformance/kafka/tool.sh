#!/usr/bin/env bash
# A console tool of Apache Kafka from its Maven jars: KAFKA_HOME=.tools/kafka-3.9.1 tool.sh kafka-topics --list …
# A link or copy named kafka-topics.sh is that tool. KAFKA_HEAP_OPTS is passed to Java, as in Kafka's own scripts.
set -euo pipefail
here=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)
name=$(basename -- "$0" .sh)
if [ "$name" = tool ]; then
  name=${1:?usage: tool.sh TOOL ARGUMENT…}
  shift
fi
lib=${KAFKA_HOME:?say where Kafka is: make .tools/kafka-3.9.1/ok, then KAFKA_HOME=.tools/kafka-3.9.1}/lib

# Kafka 4 moved some tools to another package.
admin=org.apache.kafka.tools console=org.apache.kafka.tools
if compgen -G "$lib/kafka_2.13-3.*.jar" >/dev/null; then admin=kafka.admin console=kafka.tools; fi

case $name in
connect-distributed) class=org.apache.kafka.connect.cli.ConnectDistributed ;;
connect-standalone) class=org.apache.kafka.connect.cli.ConnectStandalone ;;
kafka-acls) class=$admin.AclCommand ;;
kafka-broker-api-versions) class=$admin.BrokerApiVersionsCommand ;;
kafka-configs) class=kafka.admin.ConfigCommand ;;
kafka-console-consumer) class=org.apache.kafka.tools.consumer.ConsoleConsumer ;;
kafka-console-producer) class=$console.ConsoleProducer ;;
kafka-consumer-groups) class=org.apache.kafka.tools.consumer.group.ConsumerGroupCommand ;;
kafka-consumer-perf-test) class=org.apache.kafka.tools.ConsumerPerformance ;;
kafka-delete-records) class=org.apache.kafka.tools.DeleteRecordsCommand ;;
kafka-e2e-latency) class=org.apache.kafka.tools.EndToEndLatency ;;
kafka-get-offsets) class=org.apache.kafka.tools.GetOffsetShell ;;
kafka-groups) class=org.apache.kafka.tools.GroupsCommand ;;
kafka-leader-election) class=org.apache.kafka.tools.LeaderElectionCommand ;;
kafka-log-dirs) class=org.apache.kafka.tools.LogDirsCommand ;;
kafka-metadata-quorum) class=org.apache.kafka.tools.MetadataQuorumCommand ;;
kafka-producer-perf-test) class=org.apache.kafka.tools.ProducerPerformance ;;
kafka-reassign-partitions) class=org.apache.kafka.tools.reassign.ReassignPartitionsCommand ;;
kafka-server-start) class=kafka.Kafka ;;
kafka-storage) class=kafka.tools.StorageTool ;;
kafka-topics) class=org.apache.kafka.tools.TopicCommand ;;
kafka-transactions) class=org.apache.kafka.tools.TransactionsCommand ;;
kafka-verifiable-consumer) class=org.apache.kafka.tools.VerifiableConsumer ;;
kafka-verifiable-producer) class=org.apache.kafka.tools.VerifiableProducer ;;
*)
  echo "tool.sh knows no tool $name" >&2
  exit 2
  ;;
esac
# shellcheck disable=SC2086 # the options of Java are words
exec java ${KAFKA_HEAP_OPTS:--Xmx256M -XX:+UseSerialGC -XX:TieredStopAtLevel=1} -cp "$lib/*" \
  -Dlog4j.configuration="file:$here/log4j.properties" "$class" "$@"
