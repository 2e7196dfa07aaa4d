package streamscrub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	lagMax       = 30 * time.Second // since the log's end was last known to be reached
	confirmEvery = 200 * time.Millisecond
)

// Follower follows the opposition log from its first record, in a goroutine of its own. Any goroutine may ask it.
type Follower struct {
	replay      *Replay
	client      *kgo.Client
	end         *endReader
	stop        context.CancelFunc
	stopped     chan struct{}
	lock        sync.Mutex
	confirmedAt time.Time // everything that was on the log then is applied
	trouble     error
	failed      error // for good: a new follower must begin
}

// Follow begins to follow the topic of the log. `options` name the brokers, and how to reach them.
func Follow(topic string, options ...kgo.Opt) (*Follower, error) {
	client, err := kgo.NewClient(append(options,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(0)}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords())...) // markers of transactions show how far the log was read
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	f := &Follower{
		replay: NewReplay(), client: client, end: newEndReader(client, topic, true),
		stop: stop, stopped: make(chan struct{}), trouble: errors.New("the log is being read for the first time"),
	}
	go f.run(ctx)
	return f, nil
}

// Holding is that of Replay, on an index that has everything that was on the log 30 seconds ago. It returns an error if
// there is none: the brokers are away, a transaction stays open, or the log is corrupt. The position is that of the
// index, as on stamps.
func (f *Follower) Holding(number uint64, registers ...string) (holding []string, position int64, err error) {
	if err := f.Usable(); err != nil {
		return nil, -1, err
	}
	f.replay.lock.RLock()
	defer f.replay.lock.RUnlock()
	holding, err = f.replay.holding(number, registers)
	return holding, f.replay.position, err
}

// Usable returns why no answer would be safe now; nil if one is.
func (f *Follower) Usable() error {
	f.lock.Lock()
	defer f.lock.Unlock()
	if f.failed != nil {
		return f.failed
	}
	if lag := time.Since(f.confirmedAt); lag > lagMax {
		return fmt.Errorf("the log's end was not reached in the last %s: %w", lagMax, f.trouble)
	}
	return nil
}

// AwaitUsable waits until an answer is safe. It returns why none is when the context ends, or at once if none ever will be.
func (f *Follower) AwaitUsable(ctx context.Context) error {
	for {
		err := f.Usable()
		f.lock.Lock()
		isFinal := err == nil || f.failed != nil
		f.lock.Unlock()
		if isFinal || ctx.Err() != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Replay is the index that this follower keeps.
func (f *Follower) Replay() *Replay { return f.replay }

// Close ends the goroutine. No answer is given afterwards.
func (f *Follower) Close() {
	f.stop()
	<-f.stopped
	f.client.Close()
	f.note(time.Time{}, nil, errors.New("the follower is closed"))
}

func (f *Follower) run(ctx context.Context) {
	defer close(f.stopped)
	for ctx.Err() == nil {
		confirmedAt, err := f.step(ctx)
		var corrupt *Corrupt
		if errors.As(err, &corrupt) {
			f.note(time.Time{}, err, err)
			return
		}
		f.note(confirmedAt, err, nil)
	}
}

func (f *Follower) note(confirmedAt time.Time, trouble, failed error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	if confirmedAt.After(f.confirmedAt) {
		f.confirmedAt = confirmedAt
	}
	if trouble != nil {
		f.trouble = trouble
	}
	if failed != nil {
		f.failed = failed
	}
}

// step reads on, and returns the last moment of which everything is applied; zero if that is not known.
func (f *Follower) step(ctx context.Context) (time.Time, error) {
	polling, cancel := context.WithTimeout(ctx, confirmEvery)
	defer cancel()
	fetches := f.client.PollFetches(polling)
	for records := fetches.RecordIter(); !records.Done(); {
		record := records.Next()
		if !record.Attrs.IsControl() {
			if err := f.replay.Take(logRecord(record)); err != nil {
				return time.Time{}, err
			}
		}
		f.end.next[record.Partition] = record.Offset + 1
	}
	for _, each := range fetches.Errors() {
		if errors.Is(each.Err, kerr.OffsetOutOfRange) {
			return time.Time{}, &Corrupt{-1, "the log's beginning was deleted, or the log lost records"}
		}
		if !errors.Is(each.Err, context.DeadlineExceeded) {
			return time.Time{}, each.Err
		}
	}
	reachedAt, err := f.end.reachedAt(ctx)
	if !reachedAt.IsZero() && f.replay.Unsealed() {
		f.lock.Lock()
		f.confirmedAt = time.Time{}
		f.lock.Unlock()
		return time.Time{}, errors.New("parts of a delta without its seal")
	}
	return reachedAt, err
}

func logRecord(record *kgo.Record) Record {
	made := Record{Offset: record.Offset, Key: record.Key, Value: record.Value}
	for _, header := range record.Headers {
		made.Headers = append(made.Headers, Header{header.Key, header.Value})
	}
	return made
}

// endReader knows when everything that was written to a topic had been read.
type endReader struct {
	admin   *kadm.Client
	topic   string
	whole   bool // no record may be missing at its beginning
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

func newEndReader(client *kgo.Client, topic string, whole bool) *endReader {
	return &endReader{admin: kadm.NewClient(client), topic: topic, whole: whole, next: map[int32]int64{}}
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
		if e.whole && start.Offset > 0 {
			return &Corrupt{-1, "the beginning of " + e.topic + " was deleted"}
		}
		asked[partition] = end.Offset
		e.next[partition] = max(e.next[partition], start.Offset) // nothing is before it any more
	}
	e.id, e.askedAt, e.ends = id, askedAt, asked
	e.asked = slices.Insert(e.asked, 0, ask{askedAt, asked})
	e.asked = e.asked[:min(len(e.asked), asksMax)]
	return nil
}
