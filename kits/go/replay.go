package streamscrub

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
)

const (
	rulesName  = "rules"
	keptSeals  = 8192 // for which the log's chain is kept
	chainField = `,"chain":"`
)

var (
	genesis      = strings.Repeat("0", 64)
	partKinds    = []string{"adds", "removes", "ends", "requests", "rules", "starts", "seal"}
	registerName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*(@[a-z0-9+-]+)?$`)
)

// Record is one record of the log.
type Record struct {
	Offset     int64
	Key, Value []byte
	Headers    []Header
}

// Header is one header of a record.
type Header struct {
	Name  string
	Value []byte
}

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

// Register is one named set of numbers, as its last seal left it.
type Register struct {
	Name, Kind  string // Kind: deny or allow
	Seq, Count  int64
	Chain       string
	EffectiveAt time.Time       // the moment that its list describes
	NextEnd     *time.Time      // the earliest end of a number; nil if none ends
	Areas       []string        // the first digits of the numbers that its list covers; nil if that was never declared
	Hashed      json.RawMessage // how its numbers were hashed; nil if they are numbers
	numbers     *roaring64.Bitmap
}

// Replay is the log so far as an index. Feed it every record in offset order, from the log's first one.
type Replay struct {
	lock       sync.RWMutex // of `registers`, `position`, `seals` and `mark`
	registers  map[string]*Register
	position   int64
	mark       string
	states     map[string]*registerState
	rules      map[string]bool
	seals      []sealAt
	spans      map[string]span
	statements map[int64]int64 // by the offset of a seal, that of its first part of starts
	corrupt    *Corrupt
}

type (
	registerState struct {
		kind, chain string
		seq         int64
		nextEnd     *time.Time
		hashed      json.RawMessage
		parts       []part
	}
	part struct {
		offset, seq, i       int64
		kind, digest, sealed string
		value                []byte
	}
	sealAt struct {
		offset int64
		chain  string
	}
	span struct{ first, last int64 }
	seal struct {
		Format                                            int64
		Register, Kind, Reason, Previous, Chain           string
		RegisterKind                                      string `json:"register_kind"`
		Seq, Adds, Removes, Ends, Requests, Stated, Count int64
		NextEnd                                           *time.Time `json:"next_end"`
		EffectiveAt                                       time.Time  `json:"effective_at"`
		Source                                            struct{ Name string }
		Parts                                             []string
		Areas                                             []string
		Hashed                                            json.RawMessage
		Read                                              struct {
			Upto     int64
			LogChain string `json:"log_chain"`
			Stated   []int64
		}
	}
	content struct {
		adds, removes, ending *roaring64.Bitmap
		nextStated            *time.Time
		texts                 map[string]bool
		starts                map[string]span
		firstStarts           int64
	}
)

// NewReplay returns the replay of an empty log.
func NewReplay() *Replay {
	return &Replay{
		registers: map[string]*Register{}, position: -1, states: map[string]*registerState{},
		rules: map[string]bool{}, seals: []sealAt{{-1, genesis}}, spans: map[string]span{},
		statements: map[int64]int64{},
	}
}

// Take takes the next record. It returns a *Corrupt for the first fault, and from then on always.
func (r *Replay) Take(record Record) error {
	if r.corrupt == nil {
		r.corrupt = r.take(record)
	}
	if r.corrupt != nil {
		return r.corrupt
	}
	return nil
}

// Position is the offset of the last seal that was applied; -1 before the first.
func (r *Replay) Position() int64 {
	r.lock.RLock()
	defer r.lock.RUnlock()
	return r.position
}

// LogChain is the chain over all seals so far.
func (r *Replay) LogChain() string {
	r.lock.RLock()
	defer r.lock.RUnlock()
	return r.seals[len(r.seals)-1].chain
}

// Unsealed says whether parts wait for their seal. If so at the log's end, no index may be used.
func (r *Replay) Unsealed() bool {
	for _, state := range r.states {
		if len(state.parts) > 0 {
			return true
		}
	}
	return false
}

// Registers returns all registers, by name, without their numbers.
func (r *Replay) Registers() map[string]Register {
	r.lock.RLock()
	defer r.lock.RUnlock()
	found := map[string]Register{}
	for name, register := range r.registers {
		found[name] = *register
	}
	return found
}

// Holding returns those of the registers that hold the number, all at one position. An unknown or hashed register is
// an error: it never counts as one without the number.
func (r *Replay) Holding(number uint64, registers ...string) ([]string, error) {
	r.lock.RLock()
	defer r.lock.RUnlock()
	return r.holding(number, registers)
}

func (r *Replay) holding(number uint64, registers []string) ([]string, error) {
	if r.mark != "" {
		return nil, fmt.Errorf("no verdict may rest on this log: %s", r.mark)
	}
	var holding []string
	for _, name := range registers {
		register := r.registers[name]
		if register == nil || register.EffectiveAt.Unix() == 0 { // of 1970: it was removed
			return nil, fmt.Errorf("no register %s is on the log", name)
		}
		if register.Hashed != nil {
			return nil, fmt.Errorf("the numbers of register %s are hashed", name)
		}
		if register.numbers.Contains(number) {
			holding = append(holding, name)
		}
	}
	return holding, nil
}

// Digest is the index digest of schemas/README.md. It reads every number.
func (r *Replay) Digest() string {
	r.lock.RLock()
	defer r.lock.RUnlock()
	hash := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(r.registers)) {
		numbers := r.registers[name].numbers
		hash.Write(binary.LittleEndian.AppendUint64([]byte(name+"\n"), numbers.GetCardinality()))
		for number := range roaring64.Values(numbers) {
			hash.Write(binary.LittleEndian.AppendUint64(nil, number))
		}
	}
	return hex.EncodeToString(hash.Sum(nil))
}

func (r *Replay) take(record Record) *Corrupt {
	fault := func(format string, values ...any) *Corrupt {
		return &Corrupt{record.Offset, fmt.Sprintf(format, values...)}
	}
	headers := map[string]string{}
	for _, header := range record.Headers {
		headers[header.Name] = string(header.Value)
	}
	name, kind := string(record.Key), headers["part"]
	seq, seqErr := count(headers["seq"])
	i, iErr := count(headers["i"])
	switch {
	case record.Value == nil || name == "" || !slices.Contains(partKinds, kind):
		return fault("a record that is neither part nor seal")
	case headers["register"] != name || !registerName.MatchString(name):
		return fault("the key is no register's name, or not that of the header")
	case len(headers) < len(record.Headers):
		return fault("a header occurs twice")
	case seqErr != nil || (kind != "seal" && iErr != nil):
		return fault("a part or seal without its numbers")
	}
	state := r.states[name]
	if state == nil {
		state = &registerState{chain: genesis}
		r.states[name] = state
	}
	if kind != "seal" {
		if len(state.parts) > 0 && (state.parts[0].seq != seq || i == 0) {
			return &Corrupt{state.parts[0].offset, "parts without their seal, then others"}
		}
		digest := sha256.Sum256(record.Value)
		sealed := hex.EncodeToString(digest[:])
		state.parts = append(state.parts, part{record.Offset, seq, i, kind, headers["digest"], sealed, record.Value})
		return nil
	}
	sealed, err := readSeal(record.Value, state)
	if err == nil && (sealed.Register != name || sealed.Seq != seq) {
		err = fmt.Errorf("the seal and its headers differ")
	}
	if err == nil && (sealed.RegisterKind == rulesName) != (name == rulesName) {
		err = fmt.Errorf("the seal is of another register")
	}
	if err != nil {
		return fault("register %s: %s", name, err)
	}
	if bad, what := wrongPart(state.parts, sealed); what != "" {
		return &Corrupt{max(bad, 0), what}
	} else if len(state.parts) != len(sealed.Parts) {
		return fault("register %s: %d parts were sealed, and %d are here", name, len(sealed.Parts), len(state.parts))
	}
	change, err := read(state.parts, sealed)
	if err == nil {
		err = r.checkLog(sealed, change, record.Offset)
	}
	if err == nil && name == rulesName {
		err = r.applyRules(sealed, change)
	} else if err == nil {
		err = r.apply(name, state, sealed, change)
	}
	if err != nil {
		return fault("register %s: %s", name, err)
	}
	r.seal(name, state, sealed, change, record.Offset)
	return nil
}

func count(header string) (int64, error) {
	number, err := strconv.ParseInt(header, 10, 64)
	if err == nil && (number < 0 || strconv.FormatInt(number, 10) != header) {
		err = fmt.Errorf("not as publishers write it")
	}
	return number, err
}

// readSeal checks a seal against the one before it (checks 2 to 4).
func readSeal(value []byte, before *registerState) (*seal, error) {
	sealed := &seal{}
	if err := json.Unmarshal(value, sealed); err != nil {
		return nil, fmt.Errorf("the seal is not a seal's JSON")
	}
	if sealed.Format != 1 {
		return nil, fmt.Errorf("format version %d is unknown here", sealed.Format)
	}
	at := bytes.LastIndex(value, []byte(chainField))
	if at < 0 || string(value[at:]) != chainField+sealed.Chain+`"}` {
		return nil, fmt.Errorf("the seal does not end with its chain")
	}
	if sealed.Seq != before.seq+1 {
		return nil, fmt.Errorf("sequence %d follows %d", sealed.Seq, before.seq)
	}
	if sealed.Previous != before.chain || sealed.Chain != chained(before.chain, string(value[:at])) {
		return nil, fmt.Errorf("the chain is broken")
	}
	if before.kind != "" && before.kind != sealed.RegisterKind {
		return nil, fmt.Errorf("the seal is of another register")
	}
	return sealed, nil
}

func chained(before, content string) string {
	digest := sha256.Sum256([]byte(before + content))
	return hex.EncodeToString(digest[:])
}

// wrongPart returns the offset of the first part that is not the one that was sealed (checks 3 and 5).
func wrongPart(parts []part, sealed *seal) (int64, string) {
	for i, each := range parts {
		if each.seq != sealed.Seq || each.i != int64(i) {
			return each.offset, "a part that is not the seal's, or not in order"
		}
		if i < len(sealed.Parts) && each.sealed != sealed.Parts[i] {
			return each.offset, "its bytes are not the ones that were sealed"
		}
	}
	return -1, ""
}

// read decodes the parts, and checks that they hold as many of everything as the seal says.
func read(parts []part, sealed *seal) (*content, error) {
	found := &content{
		adds: roaring64.New(), removes: roaring64.New(), ending: roaring64.New(), texts: map[string]bool{}, firstStarts: -1,
	}
	var requests int64
	var starts []byte
	for _, each := range parts {
		var err error
		switch each.kind {
		case "adds":
			err = unite(found.adds, each.value)
		case "removes":
			err = unite(found.removes, each.value)
		case "ends":
			err = found.readEnds(each.value)
		case "requests":
			requests += int64(bytes.Count(each.value, []byte("\n")))
		case "starts":
			if starts == nil {
				found.firstStarts = each.offset
			}
			starts = append(starts, each.value...)
		default:
			_, digits, _ := strings.Cut(each.digest, "@")
			if digits == "" || !strings.HasPrefix(each.sealed, digits) || found.texts[each.digest] {
				err = fmt.Errorf("a rule's text has another digest than its part says")
			}
			found.texts[each.digest] = true
		}
		if err != nil {
			return nil, err
		}
	}
	if err := found.readStarts(starts); err != nil {
		return nil, err
	}
	held := []int64{size(found.adds), size(found.removes), size(found.ending), requests, int64(len(found.starts))}
	if !slices.Equal(held, []int64{sealed.Adds, sealed.Removes, sealed.Ends, sealed.Requests, sealed.Stated}) {
		return nil, fmt.Errorf("the parts do not hold what the seal counts")
	}
	return found, nil
}

func size(numbers *roaring64.Bitmap) int64 { return int64(numbers.GetCardinality()) }

// unite adds the set in `value`, of which `whole` may hold no number yet.
func unite(whole *roaring64.Bitmap, value []byte) error {
	set := roaring64.New()
	read, err := set.ReadPortableFrom(bytes.NewReader(value))
	if err != nil || read != int64(len(value)) || set.Validate() != nil {
		return fmt.Errorf("a part is not a portable 64-bit roaring bitmap")
	}
	if whole.Intersects(set) {
		return fmt.Errorf("two parts hold the same number")
	}
	whole.Or(set)
	return nil
}

func (c *content) readEnds(value []byte) error {
	before := uint64(0)
	for len(value) > 0 {
		if len(value) < 12 {
			return fmt.Errorf("a part of ends is cut off")
		}
		end, length := binary.LittleEndian.Uint64(value), int64(binary.LittleEndian.Uint32(value[8:]))
		if end < before || end > 253402300799 || length > int64(len(value)-12) {
			return fmt.Errorf("a part of ends is not in order, or cut off")
		}
		if err := unite(c.ending, value[12:12+length]); err != nil {
			return err
		}
		if moment := time.Unix(int64(end), 0); end > 0 && (c.nextStated == nil || moment.Before(*c.nextStated)) {
			c.nextStated = &moment
		}
		value, before = value[12+length:], end
	}
	return nil
}

func (c *content) readStarts(lines []byte) error {
	wrong := fmt.Errorf("the statement of starts is not in order, or cut off")
	before := ""
	for line := range bytes.Lines(lines) {
		var name string
		var each span
		if err := json.Unmarshal(line, &[]any{&name, &each.first, &each.last}); err != nil || line[len(line)-1] != '\n' {
			return wrong
		}
		if name <= before || each.first < 0 || each.last < each.first {
			return wrong
		}
		if before = name; c.starts == nil {
			c.starts = map[string]span{}
		}
		c.starts[name] = each
	}
	return nil
}

// checkLog checks what the publisher had read of the log as a whole (checks 9 and 10).
func (r *Replay) checkLog(sealed *seal, change *content, offset int64) error {
	upto := sealed.Read.Upto
	at := sort.Search(len(r.seals), func(i int) bool { return r.seals[i].offset > upto }) - 1
	if at >= 0 && (r.seals[at] != sealAt{upto, sealed.Read.LogChain} || upto >= offset) {
		return fmt.Errorf("its publisher had read other seals up to offset %d: a delta is missing", upto)
	}
	if stated := sealed.Read.Stated; stated != nil {
		if first, known := r.statements[stated[1]]; !known || first != stated[0] {
			return fmt.Errorf("no statement of starts begins at offset %d", stated[0])
		}
	}
	if change.starts == nil {
		return nil
	}
	for name := range change.starts {
		if _, known := r.spans[name]; !known {
			return fmt.Errorf("it states a start of %s, which is not here", name)
		}
	}
	for name, known := range r.spans {
		if known.last <= upto && change.starts[name] != known {
			return fmt.Errorf("it states that %s begins elsewhere than it does", name)
		}
	}
	return nil
}

// apply checks a delta against the register (checks 6, 7 and 11), and changes it.
func (r *Replay) apply(name string, state *registerState, sealed *seal, change *content) error {
	register := Register{Name: name, Kind: sealed.RegisterKind, numbers: roaring64.New()}
	if known := r.registers[name]; known != nil {
		register = *known
	}
	numbers, restates := register.numbers, sealed.Kind == "full" && state.seq > 0
	switch held := size(numbers); {
	case len(change.texts) > 0 || (register.Kind != "deny" && register.Kind != "allow"):
		return fmt.Errorf("it is no register of numbers")
	case !bytes.Equal(state.hashed, sealed.Hashed) && sealed.Removes < held:
		return fmt.Errorf("its numbers are hashed in another way than those that it keeps")
	case restates && (sealed.Removes > 0 || sealed.Count != held || !numbers.Equals(change.adds)):
		return fmt.Errorf("a full restatement differs from what the deltas before it gave")
	case !restates && (numbers.Intersects(change.adds) || numbers.AndCardinality(change.removes) != uint64(sealed.Removes)):
		return fmt.Errorf("it adds numbers that are there, or removes numbers that are not")
	case !restates && (change.adds.Intersects(change.removes) || held+sealed.Adds-sealed.Removes != sealed.Count):
		return fmt.Errorf("the register would not hold %d numbers", sealed.Count)
	case change.ending.Intersects(change.removes) ||
		numbers.AndCardinality(change.ending)+uint64(overlap(change, restates)) != uint64(sealed.Ends):
		return fmt.Errorf("it states ends of numbers that the register does not hold")
	case !mayBeNext(sealed, state.nextEnd, change, restates):
		return fmt.Errorf("the next end cannot be the earliest of the register's ends")
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	if !restates {
		numbers.AndNot(change.removes)
		numbers.Or(change.adds)
	}
	register.Seq, register.Count, register.Chain = sealed.Seq, sealed.Count, sealed.Chain
	register.EffectiveAt, register.NextEnd = sealed.EffectiveAt, sealed.NextEnd
	register.Areas, register.Hashed = sealed.Areas, sealed.Hashed
	r.registers[name] = &register
	return nil
}

// overlap counts the numbers with a stated end that the delta adds.
func overlap(change *content, restates bool) uint64 {
	if restates {
		return 0 // they are in the register already
	}
	return change.adds.AndCardinality(change.ending)
}

// mayBeNext says whether a seal's next end can be right, as far as that can be known without every end.
func mayBeNext(sealed *seal, before *time.Time, change *content, restates bool) bool {
	next, stated := sealed.NextEnd, change.nextStated
	switch {
	case restates:
		return same(next, stated)
	case sealed.Removes == 0 && sealed.Ends == 0:
		return same(next, before)
	case next == nil:
		return stated == nil
	}
	return same(next, stated) || same(next, before) ||
		(before != nil && before.Before(*next) && (stated == nil || next.Before(*stated)))
}

func same(one, other *time.Time) bool {
	return one == other || (one != nil && other != nil && one.Equal(*other))
}

// applyRules checks texts of rules (check 8), and keeps their digests.
func (r *Replay) applyRules(sealed *seal, change *content) error {
	after := maps.Clone(r.rules)
	maps.Copy(after, change.texts)
	restates := sealed.Kind == "full" && sealed.Seq > 1
	switch {
	case sealed.Adds+sealed.Removes+sealed.Ends > 0 || sealed.NextEnd != nil:
		return fmt.Errorf("the rules hold no numbers")
	case restates && !maps.Equal(r.rules, change.texts):
		return fmt.Errorf("a full restatement differs from what the deltas before it gave")
	case !restates && len(after) != len(r.rules)+len(change.texts):
		return fmt.Errorf("a rule with this digest is on the log already")
	case int64(len(after)) != sealed.Count:
		return fmt.Errorf("there would be %d rules, not %d", len(after), sealed.Count)
	}
	r.rules = after
	return nil
}

// seal notes that a delta is applied.
func (r *Replay) seal(name string, state *registerState, sealed *seal, change *content, offset int64) {
	first := offset
	if len(state.parts) > 0 {
		first = state.parts[0].offset
	}
	if known, there := r.spans[name]; there && sealed.Kind != "full" {
		first = known.first
	}
	r.spans[name] = span{first, offset}
	if change.firstStarts >= 0 {
		r.statements[offset] = change.firstStarts
	}
	*state = registerState{sealed.RegisterKind, sealed.Chain, sealed.Seq, sealed.NextEnd, sealed.Hashed, nil}
	chain := chained(r.LogChain(), sealed.Chain)
	r.lock.Lock()
	defer r.lock.Unlock()
	r.position = offset
	if r.seals = append(r.seals, sealAt{offset, chain}); len(r.seals) > 2*keptSeals {
		r.seals = slices.Clone(r.seals[keptSeals:])
	}
	if name == rulesName {
		switch sealed.Reason {
		case "moved":
			r.mark = "it was renewed as the topic " + sealed.Source.Name
		case "renewing":
			r.mark = "it is being renewed, and not complete yet"
		case "renewed", "taken-back":
			r.mark = ""
		}
	}
}
