package broker

import (
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// encode frames an answer: length, correlation id, in flexible versions an empty list of tagged fields (never for ApiVersions), body.
func encode(e *exchange) []byte {
	b := make([]byte, 8, 512+recordBytes(e.response))
	if e.response.IsFlexible() && e.key != keyApiVersions {
		b = append(b, 0)
	}
	b = e.response.AppendTo(b)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	binary.BigEndian.PutUint32(b[4:], uint32(e.correlation))
	return b
}

// recordBytes is about what an answer's records and their partitions take: a frame that grows as they are appended would copy the first
// of them several times.
func recordBytes(r kmsg.Response) int {
	fetched, ok := r.(*kmsg.FetchResponse)
	if !ok {
		return 0
	}
	n := 0
	for i := range fetched.Topics {
		for k := range fetched.Topics[i].Partitions {
			n += partitionFrame + len(fetched.Topics[i].Partitions[k].RecordBatches)
		}
	}
	return n
}

// partitionFrame is more than what a partition takes in the answer to a fetch, beside its records; a topic's name is little beside that.
const partitionFrame = 96
