// The scrubber that one would write with franz-go, twice: see expert.go and tuned.go. Runs until SIGTERM and then ends
// with code 0; an error ends it with code 1.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	usage = "usage: franz expert|tuned BOOTSTRAP PROSPECTS ALLOWED BLOCKED GROUP REGISTER (a file of little-endian u64)"
	batch = 10_000
)

// scrubber judges one prospect; the value that it returns is good until the next call of done.
type scrubber interface {
	scrub(value []byte) (blocked bool, stamped []byte, err error)
	done()
}

func main() {
	if len(os.Args) != 8 {
		log.Fatal(usage)
	}
	// The register and the fetched batches are few large slices: a larger heap costs less than the collector.
	debug.SetGCPercent(400)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	register, err := read(os.Args[7])
	if err != nil {
		log.Fatal(err)
	}
	var scrub scrubber = expert{register}
	if os.Args[1] == "tuned" {
		scrub = &tuned{expert: expert{register}}
	}
	if err := run(ctx, scrub, os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6]); err != nil {
		log.Fatal(err)
	}
}

func read(file string) (*roaring64.Bitmap, error) {
	bytes, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	numbers := make([]uint64, len(bytes)/8)
	for at := range numbers {
		numbers[at] = binary.LittleEndian.Uint64(bytes[at*8:])
	}
	register := roaring64.New()
	register.AddMany(numbers)
	register.RunOptimize()
	return register, nil
}

func run(ctx context.Context, scrub scrubber, bootstrap, prospects, allowed, blocked, group string) error {
	session, err := kgo.NewGroupTransactSession(
		kgo.SeedBrokers(bootstrap),
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(prospects),
		kgo.TransactionalID(group),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMinBytes(64<<10),
		kgo.FetchMaxWait(50*time.Millisecond),
		kgo.FetchMaxPartitionBytes(2<<20),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.Lz4Compression()),
		kgo.ProducerLinger(50*time.Millisecond),
		kgo.MaxBufferedRecords(5*batch),
	)
	if err != nil {
		return err
	}
	defer session.Close()
	for {
		fetches := session.PollRecords(ctx, batch)
		if ctx.Err() != nil {
			return nil
		}
		if err := fetches.Err(); err != nil {
			return err
		}
		if err := transact(session, scrub, fetches, allowed, blocked); err != nil {
			return err
		}
	}
}

// transact emits one batch. If the group rebalanced meanwhile, the session aborts and takes the batch again.
func transact(session *kgo.GroupTransactSession, scrub scrubber, fetches kgo.Fetches, allowed, blocked string) error {
	if err := session.Begin(); err != nil {
		return err
	}
	var failed atomic.Pointer[error]
	promise := func(_ *kgo.Record, err error) {
		if err != nil {
			failed.CompareAndSwap(nil, &err)
		}
	}
	for prospects := fetches.RecordIter(); !prospects.Done(); {
		r := prospects.Next()
		isBlocked, value, err := scrub.scrub(r.Value)
		if err != nil {
			return fmt.Errorf("partition %d, offset %d: %w", r.Partition, r.Offset, err)
		}
		// The fetched record goes out again: its key, partition, timestamp and headers are kept.
		r.Value, r.Topic = value, allowed
		if isBlocked {
			r.Topic = blocked
		}
		session.Produce(context.Background(), r, promise)
	}
	if err := session.Client().Flush(context.Background()); err != nil {
		return err
	}
	err := failed.Load()
	_, ended := session.End(context.Background(), kgo.TransactionEndTry(err == nil))
	scrub.done()
	if err != nil {
		return *err
	}
	return ended
}
