package streamscrub

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	seenMax     = time.Second // a recall that was committed longer ago is known before a lead is handed out
	commitEvery = 100 * time.Millisecond
	outMax      = 100_000 // handed out; as many may be postponed
	unknownFor  = time.Second
	asksMax     = 8
)

var firstZone = time.FixedZone("", 14*3600) // where a day ends first on earth

// Dialler is what a dialler sets: its group, and options that name the brokers and how to reach them. The zero value of
// everything else is the default.
type Dialler struct {
	Group    string
	Options  []kgo.Opt
	Topics   []string // prospects.allowed
	Recalled string   // prospects.recalled
	Channel  string   // voice
	// Leads with an older verdict are skipped; at most the scrubber's recall.keep_days. 30 days.
	MaxAge time.Duration
	// Nothing is handed out if `stream-scrub recall` has not shown for longer that it works. 30 s.
	LagMax time.Duration
	// "none" if no recall runs: then none is waited for.
	Recall string
	// Start says where partitions with leads and without a committed offset start: "beginning" or "end". Empty: they are not
	// read.
	Start string
	// Zones says by country, as in FR or US-FL, where a day ends. Any other country's day ends where it ends first on earth.
	Zones map[string]*time.Location
}

// Lead is a prospect that may be called, if MayDial says so of the moment.
type Lead struct {
	Numbers    []string // in E.164: call these and no others
	Key, Value []byte   // of the record, with the stamp unless that is in a header
	Stamp      Stamp
	Topic      string
	Partition  int32
	Offset     int64
}

// MayDial says whether a lead may be called now. A no with NotBefore leaves it with the dialler: postpone it until then. Every
// other no has taken it back: do not acknowledge it.
type MayDial struct {
	Allowed   bool
	Why       string    // of a no: docs/dialler.md lists them
	NotBefore time.Time // when to ask again; zero if it was taken back
}

// String is without numbers: none may get into a log.
func (l Lead) String() string {
	return fmt.Sprintf("lead(%s/%d/%d, %s)", l.Topic, l.Partition, l.Offset, l.Stamp)
}

// Allowed gives the leads that one member of a group may call now: see docs/dialler.md, which says what is promised. One
// goroutine calls Next; any may call the other methods.
type Allowed struct {
	dialler  Dialler
	leads    *kgo.Client
	notices  *kgo.Client
	end      *endReader
	stop     context.CancelFunc
	running  sync.WaitGroup
	lock     sync.Mutex
	recalls  recalls
	progress map[place]*progress
	waiting  []*open
	// Sorted: when each of them is handed out again.
	postponed []*open
	skipped   map[string]int
	out       int
	seenAt    time.Time      // every recall that was committed then is known
	trouble   error          // why recalls cannot be read now
	unplaced  map[place]bool // partitions without a committed offset that are not read, because no start was chosen
	failed    error          // for good
}

type (
	place struct {
		topic     string
		partition int32
	}
	// open is a lead that is not done. offsets: its own, and those of the records that renewed its verdict.
	open struct {
		lead Lead
		out  bool
		// While it is postponed.
		notBefore time.Time
		offsets   []int64
	}
	// progress is what is not done of one partition. A record before begun is not known to be done.
	progress struct {
		open        map[int64]*open
		lapsed      []int64 // ended before they were handed out, the last ones: a renewal of one is a lead of its own
		begun, upto int64
		changed     bool
	}
)

// NewAllowed joins the group. It returns an error for options that do not fit together.
func NewAllowed(dialler Dialler) (*Allowed, error) {
	if dialler.Topics == nil {
		dialler.Topics = []string{"prospects.allowed"}
	}
	if dialler.Recalled == "" {
		dialler.Recalled = "prospects.recalled"
	}
	if dialler.Channel == "" {
		dialler.Channel = "voice"
	}
	if dialler.MaxAge == 0 {
		dialler.MaxAge = 30 * 24 * time.Hour
	}
	if dialler.LagMax == 0 {
		dialler.LagMax = 30 * time.Second
	}
	if dialler.Recall != "" && dialler.Recall != "none" {
		return nil, fmt.Errorf("Recall is %q: leave it empty, or set \"none\" if no recall runs", dialler.Recall)
	}
	if !slices.Contains([]string{"", "beginning", "end"}, dialler.Start) {
		return nil, fmt.Errorf("Start is %q: set \"beginning\" or \"end\", or leave it empty", dialler.Start)
	}
	a := &Allowed{
		dialler: dialler, unplaced: map[place]bool{}, progress: map[place]*progress{}, skipped: map[string]int{},
		recalls: newRecalls(dialler.MaxAge),
	}
	shared := append(slices.Clone(dialler.Options), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	var err error
	// Markers of transactions show how far the recalls were read.
	a.notices, err = kgo.NewClient(append(slices.Clone(shared), kgo.KeepControlRecords())...)
	if err != nil {
		return nil, err
	}
	a.end = newEndReader(a.notices, dialler.Recalled)
	a.leads, err = kgo.NewClient(append(shared, kgo.ConsumerGroup(dialler.Group), kgo.ConsumeTopics(dialler.Topics...),
		kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.OnPartitionsAssigned(a.assigned),
		kgo.AdjustFetchOffsetsFn(a.placed), kgo.OnPartitionsRevoked(a.revoked), kgo.OnPartitionsLost(a.lost))...)
	if err != nil {
		a.notices.Close()
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	a.stop = stop
	a.running.Add(2)
	go a.follow(ctx)
	go a.commit(ctx)
	return a, nil
}

// Next returns the next lead to call, and waits for it as long as the context lets it, also while brokers are away. A *Corrupt
// says that a recall cannot be read: then nothing may be dialled. After any other error it may be called again.
func (a *Allowed) Next(ctx context.Context) (Lead, error) {
	for ctx.Err() == nil {
		a.lock.Lock()
		lead, err := a.take()
		isEmpty := len(a.waiting) == 0 && len(a.postponed) < outMax
		a.lock.Unlock()
		if lead != nil || err != nil {
			return *orNone(lead), err
		}
		if isEmpty {
			if err := a.poll(ctx); err != nil {
				return Lead{}, err
			}
		} else {
			time.Sleep(20 * time.Millisecond) // until recalls are read, or a register is renewed
		}
	}
	return Lead{}, ctx.Err()
}

func orNone(lead *Lead) *Lead {
	if lead == nil {
		return &Lead{}
	}
	return lead
}

// Ack says that the lead is done. Until then it comes again after a crash, or from another member.
func (a *Allowed) Ack(lead Lead) {
	a.lock.Lock()
	defer a.lock.Unlock()
	if each := a.opened(lead); each != nil {
		if !each.out {
			isIt := func(other *open) bool { return other == each }
			a.waiting = slices.DeleteFunc(a.waiting, isIt)
			a.postponed = slices.DeleteFunc(a.postponed, isIt)
		}
		a.takeBack(each)
		a.finish(place{lead.Topic, lead.Partition}, each)
	}
}

// MayDial says whether a lead that was handed out may be called now: ask just before the call. Acknowledge what was called,
// and postpone after a no with NotBefore. Every other no has taken the lead back: it is handed out again if it may be called
// later, and an acknowledgement would lose it. A *Corrupt says that a recall cannot be read.
func (a *Allowed) MayDial(lead Lead) (MayDial, error) {
	a.lock.Lock()
	defer a.lock.Unlock()
	if a.failed != nil {
		return MayDial{}, a.failed
	}
	each, now, at := a.opened(lead), time.Now(), place{lead.Topic, lead.Partition}
	if each == nil || !each.out {
		return MayDial{Why: "not-held"}, nil
	}
	numbers, why := a.left(each.lead), a.fault(each.lead)
	opens, err := each.lead.Stamp.nextCall(now)
	switch {
	case why != "":
	case err != nil:
		why = "not-allowed"
	case opens == nil:
		why = "outside-hours"
	case len(numbers) == 0:
		why = "recalled"
	}
	switch {
	case why != "": // for good
		a.takeBack(each)
		a.skip(each, why)
	case a.recalls.suspended():
		why = "suspended"
		a.takeBack(each)
		a.waiting = append(a.waiting, each)
	case !slices.Equal(numbers, each.lead.Numbers):
		why = "recalled"
		a.takeBack(each)
		a.waiting = append(a.waiting, each)
	case !slices.Equal(numbers, lead.Numbers): // of an earlier hand-out
		why = "recalled"
	case opens.After(now):
		return MayDial{Why: "outside-hours", NotBefore: *opens}, nil
	case time.Since(a.seenAt) > seenMax || a.silent(at):
		return MayDial{Why: "unknown", NotBefore: now.Add(unknownFor)}, nil
	}
	return MayDial{Allowed: why == "", Why: why}, nil
}

// Postpone hands the lead out again at that moment. It stays open until then, and comes at once after a restart. It is ignored
// for a lead that is not the caller's any more.
func (a *Allowed) Postpone(lead Lead, notBefore time.Time) {
	a.lock.Lock()
	defer a.lock.Unlock()
	each := a.opened(lead)
	if each == nil || !each.out || !slices.Equal(each.lead.Numbers, lead.Numbers) {
		return
	}
	a.takeBack(each)
	each.notBefore = notBefore
	later := func(other *open, moment time.Time) int { return other.notBefore.Compare(moment) }
	at, _ := slices.BinarySearchFunc(a.postponed, notBefore, later)
	a.postponed = slices.Insert(a.postponed, at, each)
}

func (a *Allowed) takeBack(each *open) {
	if each.out {
		each.out = false
		a.out--
	}
}

// Trouble says why recalls cannot be read now, so that nothing is handed out, or why some partitions are not read; nil if all
// is well.
func (a *Allowed) Trouble() error {
	a.lock.Lock()
	defer a.lock.Unlock()
	if a.trouble != nil || len(a.unplaced) == 0 {
		return a.trouble
	}
	names := []string{}
	for each := range a.unplaced {
		names = append(names, fmt.Sprintf("%s/%d", each.topic, each.partition))
	}
	slices.Sort(names)
	return fmt.Errorf("the group has no committed offset in %s, or brokers lost leads there. Either this is its first start, or"+
		" Kafka expired its offsets, and leads that were acknowledged would come again. Set Start for one start: \"beginning\""+
		" hands out every lead that is still good, \"end\" only those that come from now on", strings.Join(names, ", "))
}

// Skipped says how many leads ended without a call, by cause.
func (a *Allowed) Skipped() map[string]int {
	a.lock.Lock()
	defer a.lock.Unlock()
	counted := map[string]int{}
	for why, count := range a.skipped {
		counted[why] = count
	}
	return counted
}

// Close commits what is acknowledged, and leaves the group.
func (a *Allowed) Close() {
	a.stop()
	a.running.Wait()
	a.leads.CloseAllowingRebalance() // `revoked` commits
	a.notices.Close()
}

func (a *Allowed) opened(lead Lead) *open {
	if there := a.progress[place{lead.Topic, lead.Partition}]; there != nil {
		return there.open[lead.Offset]
	}
	return nil
}

// take hands out the next lead; nil if there is none, or none may be handed out now.
func (a *Allowed) take() (*Lead, error) {
	if a.failed != nil {
		return nil, a.failed
	}
	if time.Since(a.seenAt) > seenMax || a.recalls.suspended() {
		return nil, nil
	}
	for each := range a.progress {
		if a.silent(each) {
			return nil, nil
		}
	}
	for len(a.postponed) > 0 && !a.postponed[0].notBefore.After(time.Now()) {
		a.waiting = append(a.waiting, a.postponed[0])
		a.postponed = a.postponed[1:]
	}
	for len(a.waiting) > 0 {
		each := a.waiting[0]
		numbers, why := a.left(each.lead), a.fault(each.lead)
		if why == "" && len(numbers) == 0 {
			why = "recalled"
		}
		if why == "" && a.out >= outMax {
			return nil, fmt.Errorf("%d leads are handed out: acknowledge each that is done", outMax)
		}
		a.waiting = a.waiting[1:]
		if why == "" {
			each.lead.Numbers, each.out = numbers, true
			a.out++
			lead := each.lead
			return &lead, nil
		}
		a.skip(each, why)
	}
	return nil, nil
}

// silent says whether recall may be dead for a partition.
func (a *Allowed) silent(partition place) bool {
	return a.dialler.Recall != "none" && time.Since(a.recalls.proven[partition]) > a.dialler.LagMax
}

// fault says why a lead may never be called any more, whatever was recalled; empty if nothing is wrong.
func (a *Allowed) fault(lead Lead) string {
	now := time.Now()
	switch {
	case !lead.Stamp.Allowed || len(lead.Numbers) == 0:
		return "not-allowed"
	case lead.Stamp.Channel != a.dialler.Channel:
		return "other-channel"
	case lead.Stamp.Until != "" && a.lastDay(lead.Stamp, now) > lead.Stamp.Until:
		return "past-until"
	case now.Sub(lead.Stamp.At) > a.dialler.MaxAge:
		return "too-old"
	}
	return ""
}

// lastDay is the latest of today's days in the countries whose rules decided.
func (a *Allowed) lastDay(stamp Stamp, now time.Time) string {
	rules := stamp.Rules
	if len(rules) == 0 {
		rules = []string{""}
	}
	last := ""
	for _, rule := range rules {
		country, _, _ := strings.Cut(rule, "@")
		zone := a.dialler.Zones[strings.ToUpper(country)]
		if zone == nil {
			zone = firstZone
		}
		last = max(last, now.In(zone).Format(time.DateOnly))
	}
	return last
}

// left is the numbers that were not recalled; none if one was, unless the stamp says that some are enough.
func (a *Allowed) left(lead Lead) []string {
	var left []string
	for _, number := range lead.Numbers {
		if !a.recalls.stop(number, lead.Stamp) {
			left = append(left, number)
		}
	}
	if !lead.Stamp.Partial && len(left) < len(lead.Numbers) {
		return nil
	}
	return left
}

func (a *Allowed) skip(each *open, why string) {
	a.skipped[why]++
	at := place{each.lead.Topic, each.lead.Partition}
	a.finish(at, each)
	if slices.Contains([]string{"past-until", "too-old", "outside-hours"}, why) {
		there := a.progress[at]
		there.lapsed = append(there.lapsed, each.offsets...)
		there.lapsed = there.lapsed[max(0, len(there.lapsed)-outMax):]
	}
}

func (a *Allowed) finish(at place, each *open) {
	there := a.progress[at]
	for _, offset := range each.offsets {
		delete(there.open, offset)
	}
	there.changed = true
}

// poll reads on. It returns an error that will not pass by itself, such as a missing right.
func (a *Allowed) poll(ctx context.Context) error {
	polling, cancel := context.WithTimeout(ctx, commitEvery)
	defer cancel()
	fetches := a.leads.PollRecords(polling, 500)
	a.lock.Lock()
	fetches.EachRecord(a.add)
	a.lock.Unlock()
	a.leads.AllowRebalance()
	for _, each := range fetches.Errors() {
		if !passes(each.Err) {
			return each.Err
		}
	}
	return nil
}

// passes says whether the client goes on by itself after an error: a poll that ended, or a place in the group that was lost
// with a broker. What somebody must mend does not pass: a client that is closed, a certificate
// that is not trusted.
func passes(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return true
	}
	var session *kgo.ErrGroupSession
	if !errors.As(err, &session) {
		return false
	}
	var answer *kerr.Error
	if !errors.As(err, &answer) { // no broker answered
		var untrusted *tls.CertificateVerificationError
		return !errors.As(err, &untrusted) && !errors.Is(err, kgo.ErrClientClosed)
	}
	return answer.Retriable || answer == kerr.UnknownMemberID || answer == kerr.IllegalGeneration
}

func (a *Allowed) add(record *kgo.Record) {
	there := a.progress[place{record.Topic, record.Partition}]
	if there == nil {
		return
	}
	if there.begun < 0 {
		there.begun = record.Offset
	}
	there.upto = record.Offset + 1
	each := &open{
		lead: Lead{
			Key: record.Key, Value: record.Value, Topic: record.Topic, Partition: record.Partition, Offset: record.Offset,
		},
		offsets: []int64{record.Offset},
	}
	there.open[record.Offset] = each
	stamp, renewed, err := stampOn(record)
	if err != nil {
		a.skip(each, "not-allowed")
		return
	}
	each.lead.Stamp, each.lead.Numbers = stamp, stamp.Numbers
	if held := there.open[renewed]; held != nil && held != each {
		a.renew(held, each.lead)
		held.offsets = append(held.offsets, record.Offset)
		there.open[record.Offset] = held
	} else if lapsed := slices.Index(there.lapsed, renewed); lapsed >= 0 {
		there.lapsed = slices.Delete(there.lapsed, lapsed, lapsed+1)
		a.waiting = append(a.waiting, each)
	} else if renewed >= there.begun {
		a.skip(each, "renewed")
	} else {
		a.waiting = append(a.waiting, each)
	}
}

// renew notes that a lead was read again with a later verdict. It stays the lead that it was.
func (a *Allowed) renew(held *open, renewal Lead) {
	for _, number := range held.lead.Numbers {
		if held.out && !slices.Contains(renewal.Numbers, number) { // hand it out again, with the numbers that are left
			a.takeBack(held)
			a.waiting = append(a.waiting, held)
		}
	}
	if held.out {
		renewal.Numbers = held.lead.Numbers
	}
	renewal.Offset = held.lead.Offset
	held.lead = renewal
}

// stampOn returns a record's stamp, and the offset of the record that it renews; -1 if it is no renewal.
func stampOn(record *kgo.Record) (Stamp, int64, error) {
	renewed, stamp := int64(-1), []byte(nil)
	for _, header := range record.Headers {
		switch header.Key {
		case "scrub-renews":
			if offset, err := strconv.ParseInt(string(header.Value), 10, 64); err == nil {
				renewed = offset
			}
		case "scrub":
			stamp = header.Value
		}
	}
	if stamp == nil {
		var value struct{ Scrub json.RawMessage }
		if err := json.Unmarshal(record.Value, &value); err != nil {
			return Stamp{}, -1, err
		}
		stamp = value.Scrub
	}
	read, err := readStamp(stamp)
	return read, renewed, err
}

// places is what to commit; it counts as committed.
func (a *Allowed) places(partitions func(place) bool) map[string]map[int32]kgo.EpochOffset {
	places := map[string]map[int32]kgo.EpochOffset{}
	for at, there := range a.progress {
		if !there.changed || !partitions(at) {
			continue
		}
		offset := there.upto
		for each := range there.open {
			offset = min(offset, each)
		}
		if places[at.topic] == nil {
			places[at.topic] = map[int32]kgo.EpochOffset{}
		}
		places[at.topic][at.partition] = kgo.EpochOffset{Epoch: -1, Offset: offset}
		there.changed = false
	}
	return places
}

func (a *Allowed) commit(ctx context.Context) {
	defer a.running.Done()
	for ctx.Err() == nil {
		time.Sleep(commitEvery)
		a.lock.Lock()
		places := a.places(func(place) bool { return true })
		a.lock.Unlock()
		if len(places) > 0 {
			a.leads.CommitOffsetsSync(ctx, places, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, _ *kmsg.OffsetCommitResponse, err error) {
				if err != nil {
					a.again(places)
				}
			})
		}
	}
}

func (a *Allowed) again(places map[string]map[int32]kgo.EpochOffset) {
	a.lock.Lock()
	defer a.lock.Unlock()
	for at, there := range a.progress {
		if _, meant := places[at.topic][at.partition]; meant {
			there.changed = true
		}
	}
}

func (a *Allowed) assigned(ctx context.Context, client *kgo.Client, partitions map[string][]int32) {
	// Without an answer a renewal may come as a lead of its own.
	committed, _ := kadm.NewClient(client).FetchOffsets(ctx, a.dialler.Group)
	a.lock.Lock()
	defer a.lock.Unlock()
	for topic, each := range partitions {
		for _, partition := range each {
			made := &progress{open: map[int64]*open{}, begun: -1, upto: -1}
			if found, known := committed.Lookup(topic, partition); known && found.At >= 0 {
				made.begun = 0
			}
			a.progress[place{topic, partition}] = made
		}
	}
}

// placed leaves out partitions without a committed offset, or with one beyond the end, unless a start was chosen.
func (a *Allowed) placed(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	topics := slices.Collect(maps.Keys(offsets))
	admin := kadm.NewClient(a.leads)
	first, err := admin.ListStartOffsets(ctx, topics...)
	if err == nil {
		err = first.Error()
	}
	if err != nil {
		return nil, err
	}
	last, err := admin.ListEndOffsets(ctx, topics...)
	if err == nil {
		err = last.Error()
	}
	if err != nil {
		return nil, err
	}
	a.lock.Lock()
	defer a.lock.Unlock()
	for topic, partitions := range offsets {
		for partition, offset := range partitions {
			begin, isThere := first.Lookup(topic, partition)
			end, isEndThere := last.Lookup(topic, partition)
			there := a.progress[place{topic, partition}]
			if !isThere || !isEndThere || there == nil {
				return nil, fmt.Errorf("%s/%d: no broker knows its ends now", topic, partition)
			}
			committed := offset.EpochOffset().Offset
			switch {
			case committed >= 0 && committed <= end.Offset:
			case begin.Offset == end.Offset || a.dialler.Start == "beginning":
				there.begun, there.upto, there.changed = begin.Offset, begin.Offset, true
				partitions[partition] = kgo.NewOffset().At(begin.Offset)
			case a.dialler.Start == "end": // earlier leads count as done, also if their verdict is renewed
				there.begun, there.upto, there.changed = 0, end.Offset, true
				partitions[partition] = kgo.NewOffset().At(end.Offset)
			default:
				a.unplaced[place{topic, partition}] = true
				delete(partitions, partition)
			}
		}
	}
	return offsets, nil
}

func (a *Allowed) revoked(ctx context.Context, client *kgo.Client, partitions map[string][]int32) {
	a.lock.Lock()
	places := a.places(func(at place) bool { return slices.Contains(partitions[at.topic], at.partition) })
	a.lock.Unlock()
	if len(places) > 0 {
		client.CommitOffsetsSync(ctx, places, nil) // where that fails, what was acknowledged comes again
	}
	a.lost(ctx, client, partitions)
}

func (a *Allowed) lost(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
	a.lock.Lock()
	defer a.lock.Unlock()
	isLost := func(lead Lead) bool { return slices.Contains(partitions[lead.Topic], lead.Partition) }
	a.waiting = slices.DeleteFunc(a.waiting, func(each *open) bool { return isLost(each.lead) })
	a.postponed = slices.DeleteFunc(a.postponed, func(each *open) bool { return isLost(each.lead) })
	for at, there := range a.progress {
		if !slices.Contains(partitions[at.topic], at.partition) {
			continue
		}
		for offset, each := range there.open {
			if each.out && each.lead.Offset == offset {
				a.out--
			}
		}
		delete(a.progress, at)
		delete(a.unplaced, at)
	}
}

func (a *Allowed) follow(ctx context.Context) {
	defer a.running.Done()
	for ctx.Err() == nil {
		if err := a.followOnce(ctx); err != nil {
			a.lock.Lock()
			a.failed = err
			a.lock.Unlock()
			return
		}
	}
}

// followOnce reads recalls on. It returns an error if nothing may be dialled any more.
func (a *Allowed) followOnce(ctx context.Context) error {
	polling, cancel := context.WithTimeout(ctx, commitEvery)
	defer cancel()
	if len(a.end.next) == 0 {
		if err := a.end.begin(ctx, a.notices, a.recalls.since()); err != nil {
			a.lock.Lock()
			a.trouble = err
			a.lock.Unlock()
			<-polling.Done()
			return nil
		}
	}
	fetches := a.notices.PollFetches(polling)
	for records := fetches.RecordIter(); !records.Done(); {
		record := records.Next()
		if !record.Attrs.IsControl() {
			a.lock.Lock()
			err := a.recalls.take(record.Value, a.end.writtenAfter(record.Partition, record.Offset))
			a.lock.Unlock()
			if err != nil {
				return &Corrupt{record.Offset, fmt.Sprintf("%s/%d: %s", record.Topic, record.Partition, err)}
			}
		}
		a.end.next[record.Partition] = record.Offset + 1
	}
	reachedAt, err := a.end.reachedAt(ctx)
	var corrupt *Corrupt
	if errors.As(err, &corrupt) {
		return err
	}
	a.lock.Lock()
	defer a.lock.Unlock()
	if a.trouble = err; reachedAt.After(a.seenAt) {
		a.seenAt = reachedAt
	}
	return nil
}
