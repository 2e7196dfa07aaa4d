package main

import "bytes"

// tuned does everything by hand that is worth it: one pass over plain JSON, a French number read from its characters,
// the member spliced into the bytes, all values of a batch in one piece of memory. Anything else goes to expert.
type tuned struct {
	expert
	arena []byte
}

var (
	allowedMember = []byte(`,"scrub":{"verdict":"allowed","reason":"clear","number":"+`)
	blockedMember = []byte(`,"scrub":{"verdict":"blocked","reason":"opposed","number":"+`)
)

func (t *tuned) scrub(value []byte) (bool, []byte, error) {
	phone, plain := phoneOf(value)
	number, french := parse(phone)
	if !plain || !french {
		return t.expert.scrub(value)
	}
	blocked := t.register.Contains(number)
	member := allowedMember
	if blocked {
		member = blockedMember
	}
	start := len(t.arena)
	t.arena = append(t.arena, value[:len(value)-1]...)
	t.arena = append(t.arena, member...)
	t.arena = append(t.arena, "00000000000\"}}"...)
	for at := len(t.arena) - 4; number > 0; number /= 10 {
		t.arena[at] = '0' + byte(number%10)
		at--
	}
	return blocked, t.arena[start:len(t.arena):len(t.arena)], nil
}

// done gives the memory to the next batch. Values of this one may be in the memory of before it grew.
func (t *tuned) done() { t.arena = t.arena[:0] }

// phoneOf is the text of the member "phone" of an object without spaces, escapes, nested values or a member "scrub".
func phoneOf(value []byte) (phone []byte, plain bool) {
	if len(value) < 2 || value[0] != '{' {
		return nil, false
	}
	for at := 1; ; at++ { // behind { or ,
		name, after := text(value, at)
		if name == nil || after+1 >= len(value) || value[after] != ':' || string(name) == "scrub" {
			return nil, false
		}
		if at = after + 1; value[at] == '"' {
			member, behind := text(value, at)
			if member == nil {
				return nil, false
			}
			if at = behind; string(name) == "phone" {
				phone = member
			}
		} else {
			for at < len(value) && value[at] != ',' && value[at] != '}' {
				if c := value[at]; c <= ' ' || c == '"' || c == '{' || c == '[' {
					return nil, false
				}
				at++
			}
		}
		switch {
		case at == len(value)-1 && value[at] == '}':
			return phone, true
		case at >= len(value) || value[at] != ',':
			return nil, false
		}
	}
}

// text is what stands between the quote at `at` and the next one, and the place behind that; nil if it is not plain.
func text(value []byte, at int) ([]byte, int) {
	if at >= len(value) || value[at] != '"' {
		return nil, 0
	}
	length := bytes.IndexByte(value[at+1:], '"')
	if length < 0 || bytes.IndexByte(value[at+1:at+1+length], '\\') >= 0 {
		return nil, 0
	}
	return value[at+1 : at+1+length], at + length + 2
}

// parse reads 0X XX XX XX XX, with or without separators, or +33 and nine digits.
func parse(phone []byte) (number uint64, french bool) {
	international := len(phone) > 0 && phone[0] == '+'
	if international {
		phone = phone[1:]
	}
	digits := 0
	for _, c := range phone {
		switch {
		case '0' <= c && c <= '9':
			number = number*10 + uint64(c-'0')
			if digits++; digits > 11 {
				return 0, false
			}
		case c != ' ' && c != '.' && c != '-':
			return 0, false
		}
	}
	wanted := 10
	if international {
		wanted, number = 11, number-33_000_000_000
	}
	return 33_000_000_000 + number, digits == wanted && 100_000_000 <= number && number <= 999_999_999
}
