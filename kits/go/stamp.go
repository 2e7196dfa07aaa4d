package streamscrub

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Stamp is a verdict with its evidence. JSON has every member: docs/dialler.md lists them.
type Stamp struct {
	Allowed bool
	Reason  string
	Numbers []string // in E.164: call these and no others
	Judged  []string // the numbers that the verdict is about
	Partial bool     // some of the numbers may be called though others may not
	Index   int64
	At      time.Time
	Until   string // the last day on which the person may be called, as in 2026-11-24, in the number's country; or empty
	Channel string
	Rules   []string // the digests of the rules that decided
	JSON    json.RawMessage
}

// String is without numbers: none may get into a log.
func (s Stamp) String() string {
	return fmt.Sprintf("stamp(%t, %s, index %d)", s.Allowed, s.Reason, s.Index)
}

// nextCall returns the first moment from that one on at which a call may begin, by the hours; nil after the last window.
func (s Stamp) nextCall(now time.Time) (*time.Time, error) {
	var read struct{ Call *struct{ Windows []string } }
	if err := json.Unmarshal(s.JSON, &read); err != nil {
		return nil, err
	}
	if read.Call == nil {
		return &now, nil
	}
	var next *time.Time
	for _, window := range read.Call.Windows {
		begin, end, _ := strings.Cut(window, "/")
		opens, err := time.Parse("2006-01-02T15:04Z07:00", begin)
		if err != nil {
			return nil, err
		}
		closes, err := time.Parse("2006-01-02T15:04Z07:00", end)
		if err != nil {
			return nil, err
		}
		if opens.Before(now) {
			opens = now
		}
		if closes.After(now) && (next == nil || opens.Before(*next)) {
			next = &opens
		}
	}
	return next, nil
}

type numberStamp struct{ Number, Rules, Residence string }

var (
	allowing = []string{"clear", "consented", "contract", "exempt"}
	e164     = regexp.MustCompile(`^\+[1-9][0-9]{1,18}$`)
	noStamp  = errors.New("it is no stamp")
)

func readStamp(value []byte) (Stamp, error) {
	var read struct {
		numberStamp
		Verdict, Reason, Channel, Until string
		Index                           *int64
		At                              time.Time
		Numbers                         []numberStamp
		Callable                        []string
	}
	if json.Unmarshal(value, &read) != nil || read.Index == nil {
		return Stamp{}, noStamp
	}
	_, err := time.Parse(time.DateOnly, read.Until)
	isAllowed := read.Verdict == "allowed"
	if (read.Until != "" && err != nil) || isAllowed != slices.Contains(allowing, read.Reason) || (!isAllowed && read.Verdict != "blocked") {
		return Stamp{}, noStamp
	}
	made := Stamp{
		Allowed: isAllowed, Reason: read.Reason, Index: *read.Index, At: read.At, Until: read.Until,
		Channel: read.Channel, JSON: value, Partial: len(read.Callable) > 0,
	}
	if made.Channel == "" {
		made.Channel = "voice"
	}
	if len(read.Numbers) == 0 {
		read.Numbers = []numberStamp{read.numberStamp}
	}
	for _, each := range read.Numbers {
		for into, text := range map[*[]string]string{&made.Judged: each.Number, &made.Rules: each.Rules} {
			if text != "" && !slices.Contains(*into, text) {
				*into = append(*into, text)
			}
		}
		if each.Residence != "" {
			made.Rules = append(made.Rules, each.Residence)
		}
	}
	made.Numbers = read.Callable
	if !made.Partial {
		made.Numbers = made.Judged
	}
	if slices.ContainsFunc(slices.Concat(made.Judged, made.Numbers), func(each string) bool { return !e164.MatchString(each) }) {
		return Stamp{}, noStamp
	}
	return made, nil
}
