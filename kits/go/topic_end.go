package streamscrub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const confirmEvery = 200 * time.Millisecond

// Corrupt says that a record breaks its format, or that a topic lost records: nothing may be allowed any more by what was
// read. Offset is the record's; -1 if it is no single record.
type Corrupt struct {
	Offset int64
	What   string
}

func (e *Corrupt) Error() string {
	if e.Offset < 0 {
		return e.What
	}
	return fmt.Sprintf("offset %d: %s", e.Offset, e.What)
}

// endReader knows when everything that was written to a topic had been read.
type endReader struct {
	admin   *kadm.Client
	topic   string
	id      kadm.TopicID
	next    map[int32]int64 // by partition, the offset after the last one that was read
	askedAt time.Time
	ends    map[int32]int64 // of what was written when it was asked for, in open transactions too
	asked   []ask           // the last questions, the latest first
}

type ask struct {
	at   time.Time
	ends map[int32]int64
}

// writtenAfter returns a moment after which a record was written, by this machine's clock alone; zero if none is known.
func (e *endReader) writtenAfter(partition int32, offset int64) time.Time {
	for _, each := range e.asked {
		if end, known := each.ends[partition]; known && end <= offset {
			return each.at
		}
	}
	return time.Time{}
}

func newEndReader(client *kgo.Client, topic string) *endReader {
	return &endReader{admin: kadm.NewClient(client), topic: topic, next: map[int32]int64{}}
}

// begin consumes every partition from the first record of that moment or a later one; from its beginning without one.
func (e *endReader) begin(ctx context.Context, client *kgo.Client, since time.Time) error {
	asking, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	listed, err := e.admin.ListOffsetsAfterMilli(asking, since.UnixMilli(), e.topic)
	if err := errors.Join(err, listed.Error()); err != nil {
		return fmt.Errorf("the offsets of %s are unknown: %w", e.topic, err)
	}
	begins := map[int32]kgo.Offset{}
	for partition, each := range listed[e.topic] {
		if each.Timestamp < 0 { // that is the partition's end
			each.Offset = 0
		}
		e.next[partition] = each.Offset
		begins[partition] = kgo.NewOffset().At(each.Offset)
	}
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{e.topic: begins})
	return nil
}

// reachedAt returns the last moment of which everything is read; zero if that is not known. A *Corrupt says that the topic
// was created again, or lost records.
func (e *endReader) reachedAt(ctx context.Context) (time.Time, error) {
	// New ends are asked for once the last ones are reached: under load there may be no moment without more records.
	if e.ends == nil || (e.reached() && time.Since(e.askedAt) >= confirmEvery) {
		if err := e.ask(ctx); err != nil {
			return time.Time{}, err
		}
	}
	if !e.reached() {
		return time.Time{}, nil
	}
	return e.askedAt, nil
}

func (e *endReader) reached() bool {
	for partition, end := range e.ends {
		if e.next[partition] < end {
			return false
		}
	}
	return true
}

func (e *endReader) ask(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	askedAt := time.Now()
	topics, err := e.admin.ListTopics(asking, e.topic)
	starts, startsErr := e.admin.ListStartOffsets(asking, e.topic)
	ends, endsErr := e.admin.ListEndOffsets(asking, e.topic)
	if err := errors.Join(err, topics.Error(), startsErr, starts.Error(), endsErr, ends.Error()); err != nil {
		return fmt.Errorf("the end of %s is unknown: %w", e.topic, err)
	}
	id, asked := topics[e.topic].ID, map[int32]int64{}
	for partition := range topics[e.topic].Partitions {
		start, started := starts.Lookup(e.topic, partition)
		end, ended := ends.Lookup(e.topic, partition)
		if !started || !ended {
			return fmt.Errorf("the end of %s is unknown", e.topic)
		}
		if end.Offset < e.next[partition] || (e.id != kadm.TopicID{} && id != e.id) {
			return &Corrupt{-1, e.topic + " was created again, or lost records that were read"}
		}
		if _, known := e.next[partition]; !known && len(e.next) > 0 {
			return &Corrupt{-1, e.topic + " has other partitions than at the start: start again"}
		}
		asked[partition] = end.Offset
		e.next[partition] = max(e.next[partition], start.Offset) // nothing is before it any more
	}
	e.id, e.askedAt, e.ends = id, askedAt, asked
	e.asked = slices.Insert(e.asked, 0, ask{askedAt, asked})
	e.asked = e.asked[:min(len(e.asked), asksMax)]
	return nil
}
