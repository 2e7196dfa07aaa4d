package streamscrub

import (
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	// Positions begin again on a renewed log: they are compared within this time alone.
	oneLog = 24 * time.Hour
	// A recall stops a verdict that is up to a day later, and its moment is up to a day after its record's timestamp (a
	// worker's clock that is ahead). The third day is for the clocks of brokers and diallers.
	writtenBefore = 72 * time.Hour
	pruneEvery    = 100_000
)

var (
	recalledNumber = regexp.MustCompile(`^\+[0-9]{2,20}$`)
	noRecall       = errors.New("it is no recall that this kit can read, so nothing may be dialled")
)

// order is the moment of a recall, and its position on the log.
type order struct {
	at    time.Time
	index int64
}

func (o order) before(other order) bool {
	return o.at.Before(other.at) || (o.at.Equal(other.at) && o.index < other.index)
}

// joined returns one order that stops what either does.
func (o order) joined(other order) order {
	older, newer := o, other
	if newer.before(older) {
		older, newer = newer, older
	}
	if newer.at.Sub(older.at) <= oneLog {
		newer.index = max(newer.index, older.index)
	}
	return newer
}

func (o order) stops(stamp Stamp) bool {
	late := stamp.At.Sub(o.at)
	return late <= 0 || (late <= oneLog && stamp.Index < o.index)
}

type suspension struct {
	order order
	ended bool
}

// recalls is what prospects.recalled has said so far. Verdicts older than maxAge are never asked about.
type recalls struct {
	maxAge    time.Duration
	forgotten time.Time // verdicts until then count as recalled: their recalls may not be known here
	last      map[string]order
	registers map[string]suspension
	taken     int
	proven    map[place]time.Time // until when recall has shown, by partition of the leads, that it works
}

func newRecalls(maxAge time.Duration) recalls {
	return recalls{
		maxAge: maxAge, forgotten: time.Now().Add(-maxAge), last: map[string]order{},
		registers: map[string]suspension{}, proven: map[place]time.Time{},
	}
}

// since is the moment from which on records must be read: older ones take back no verdict that is asked about.
func (r *recalls) since() time.Time { return r.forgotten.Add(-writtenBefore) }

// take takes a record that was written after that moment.
func (r *recalls) take(value []byte, writtenAfter time.Time) error {
	var notice struct {
		Kind, Number, Register string
		Index                  *int64
		At                     time.Time
		Partitions             []string
		LagMs                  int64 `json:"lag_ms"`
	}
	if json.Unmarshal(value, &notice) != nil {
		return noRecall
	}
	if notice.Kind == "alive" {
		r.prove(notice.Partitions, writtenAfter.Add(-time.Duration(max(0, notice.LagMs))*time.Millisecond))
		return nil
	}
	if notice.Index == nil || *notice.Index < 0 || notice.At.IsZero() {
		return noRecall
	}
	now := order{notice.At, *notice.Index}
	switch {
	case notice.Kind == "recalled" && recalledNumber.MatchString(notice.Number):
		if before, known := r.last[notice.Number]; known {
			now = before.joined(now)
		}
		r.last[notice.Number] = now
		if r.taken++; r.taken%pruneEvery == 0 {
			r.prune(time.Now().Add(-r.maxAge))
		}
	case (notice.Kind == "suspended" || notice.Kind == "resumed") && notice.Register != "":
		if before, known := r.registers[notice.Register]; !known || !now.before(before.order) {
			r.registers[notice.Register] = suspension{now, notice.Kind == "resumed"}
		}
	default:
		return noRecall
	}
	return nil
}

func (r *recalls) prove(partitions []string, at time.Time) {
	for _, name := range partitions {
		slash := strings.LastIndex(name, "/")
		partition, err := strconv.ParseInt(name[slash+1:], 10, 32)
		if slash < 0 || err != nil {
			continue
		}
		key := place{name[:slash], int32(partition)}
		if at.After(r.proven[key]) {
			r.proven[key] = at
		}
	}
}

func (r *recalls) prune(oldest time.Time) {
	if !oldest.After(r.forgotten) {
		return
	}
	r.forgotten = oldest
	for number, each := range r.last {
		if each.at.Add(oneLog).Before(oldest) {
			delete(r.last, number)
		}
	}
}

// stop says whether this number of a stamp was recalled since its verdict.
func (r *recalls) stop(number string, stamp Stamp) bool {
	last, known := r.last[number]
	return !stamp.At.After(r.forgotten) || (known && last.stops(stamp))
}

// suspended says whether any register is suspended. Which rules ask it is unknown here.
func (r *recalls) suspended() bool {
	for _, each := range r.registers {
		if !each.ended {
			return true
		}
	}
	return false
}
