package streamscrub

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	bodyMax        = 64 << 20
	apartMax       = 5 * time.Minute // between a stamp's moment and this machine's clock
	comparedDigits = 6
	leastDigits    = 4 // with fewer numbers cannot be distinguished
)

const (
	noScheme  = "the address has no scheme: write http:// or https:// in front"
	refused   = "the connection was refused: start the server, or correct the address and the port"
	untrusted = "the server's certificate is not trusted: pass NewCheckClient a tls.Config whose RootCAs hold your authority, or correct the host name"
	timedOut  = "no answer came in time: look whether the server hangs, or raise the deadline"
)

var (
	tryAgain  = []int{408, 425, 429, 500, 502, 503, 504}
	lastZone  = time.FixedZone("", -12*3600)      // where a day ends last on earth
	pieces    = regexp.MustCompile(`[\p{L}#;,]+`) // what begins an extension, or is no part of the number
	noDigits  = regexp.MustCompile(`[^0-9]`)
	hasScheme = regexp.MustCompile(`^(?i:https?)://`)
	inSeconds = regexp.MustCompile(`^[0-9]{1,9}$`)
)

// Unknown says that the check API gave no verdict: do not dial. Status is that of its answer; 0 if none came.
type Unknown struct {
	Why    string
	Status int
}

func (e *Unknown) Error() string { return e.Why }

// CheckClient asks the check API whether numbers may be called now: docs/check-api.md. Goroutines may share one.
type CheckClient struct {
	url, token string
	deadline   time.Duration
	http       *http.Client
}

// NewCheckClient returns a client of the server at url. The token is a bearer token, or empty. The deadline is that of a
// whole call: failures that may pass are tried again until then. trust is nil, or trusts your own authority.
func NewCheckClient(url, token string, deadline time.Duration, trust *tls.Config) *CheckClient {
	return &CheckClient{strings.TrimRight(url, "/") + "/v1/check", token, deadline, &http.Client{
		// A proxy may bring another one's answer. A compressed answer of a few bytes may be a large one.
		Transport:     &http.Transport{TLSClientConfig: trust, DisableCompression: true, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Check returns the verdict on one number, or on a person with several. facts are members of a prospect, as in
// {"purpose": "insurance", "campaign": "acme"}. If there is no verdict in time the error is an *Unknown.
func (c *CheckClient) Check(ctx context.Context, numbers []string, facts map[string]any) (Stamp, error) {
	if !hasScheme.MatchString(c.url) {
		return Stamp{}, &Unknown{noScheme, 0}
	}
	question := maps.Clone(facts)
	if question == nil {
		question = map[string]any{}
	}
	if question["number"] = numbers; len(numbers) == 1 {
		question["number"] = numbers[0]
	}
	body, err := json.Marshal(question)
	if err != nil {
		return Stamp{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.deadline)
	defer cancel()
	ends, _ := ctx.Deadline()
	best, why := answer{}, timedOut // why there is no answer: the last cause that is known
	for tries := 0; ; tries++ {
		if found, err := c.ask(ctx, body); err == nil {
			best = found // the last one, but rather a server's answer than none
		} else if cause := causeOf(err); cause != "" {
			why = cause
		}
		pause := pauseAfter(best, tries)
		isFinal := best.status != 0 && !slices.Contains(tryAgain, best.status)
		if isFinal || time.Now().Add(pause).After(ends) || ctx.Err() != nil {
			if best.status == 0 {
				return Stamp{}, &Unknown{why, 0}
			}
			return best.verdict(numbers)
		}
		time.Sleep(pause)
	}
}

// causeOf names a cause that needs somebody; empty for another one. The error's text may name what was asked.
func causeOf(err error) string {
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return refused
	case errors.As(err, &certificate):
		return untrusted
	}
	return ""
}

type answer struct {
	status     int
	retryAfter string
	packed     bool
	body       []byte
}

func (c *CheckClient) ask(ctx context.Context, body []byte) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	request.Header = http.Header{
		"Content-Type": {"application/json"}, "Accept": {"application/json"}, "Accept-Encoding": {"identity"},
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	whole, err := io.ReadAll(io.LimitReader(response.Body, bodyMax))
	if err != nil {
		return answer{}, err
	}
	encoding := response.Header.Get("Content-Encoding")
	return answer{response.StatusCode, response.Header.Get("Retry-After"), encoding != "" && encoding != "identity", whole}, nil
}

// pauseAfter is as long as the server says, else longer each time, and not the same for all clients.
func pauseAfter(last answer, tries int) time.Duration {
	own := time.Duration(float64(min(time.Second, 50*time.Millisecond<<min(tries, 5))) * (0.5 + rand.Float64()/2))
	if inSeconds.MatchString(last.retryAfter) {
		seconds, _ := strconv.Atoi(last.retryAfter)
		return max(own, time.Duration(seconds)*time.Second)
	}
	return own
}

func (a answer) verdict(numbers []string) (Stamp, error) {
	unknown := func(why string) (Stamp, error) { return Stamp{}, &Unknown{why, a.status} }
	if a.status != http.StatusOK {
		return unknown(fmt.Sprintf("the server answered %d", a.status))
	}
	stamp, err := readStamp(a.body)
	now := time.Now()
	switch {
	case err != nil || a.packed || !isOnce(json.NewDecoder(bytes.NewReader(a.body))):
		return unknown("the answer is not a stamp")
	case !isAbout(stamp, numbers):
		return unknown("the answer is about another number")
	case now.Sub(stamp.At).Abs() > apartMax:
		return unknown("the answer is from another time: a proxy cached it, or a clock is wrong")
	case stamp.Until != "" && stamp.Until < now.In(lastZone).Format(time.DateOnly):
		return unknown("the answer has lapsed")
	}
	return stamp, nil
}

// isOnce says whether no member stands twice in what comes next, in any case: parsers differ in which of two they read.
func isOnce(decoder *json.Decoder) bool {
	begun, err := decoder.Token()
	if _, isNest := begun.(json.Delim); err != nil || !isNest {
		return err == nil
	}
	seen := map[string]bool{}
	for decoder.More() {
		if begun == json.Delim('{') {
			name, err := decoder.Token()
			text, _ := name.(string)
			folded := strings.ToLower(strings.ToUpper(text)) // the long s and the Kelvin sign are letters of names here
			if err != nil || seen[folded] {
				return false
			}
			seen[folded] = true
		}
		if !isOnce(decoder) {
			return false
		}
	}
	_, err = decoder.Token() // its end
	return err == nil
}

// isAbout says whether a stamp's numbers are those of the question, as far as their last digits show: proxies mix answers up.
func isAbout(stamp Stamp, numbers []string) bool {
	var ends []string
	for _, number := range numbers {
		for _, piece := range pieces.Split(number, -1) {
			digits := strings.TrimLeft(noDigits.ReplaceAllString(piece, ""), "0")
			if len(digits) >= leastDigits {
				ends = append(ends, digits[max(0, len(digits)-comparedDigits):])
			}
		}
	}
	if len(stamp.Judged) == 0 || len(ends) == 0 {
		return !stamp.Allowed
	}
	return !slices.ContainsFunc(slices.Concat(stamp.Judged, stamp.Numbers), func(judged string) bool {
		return !slices.ContainsFunc(ends, func(end string) bool { return strings.HasSuffix(judged, end) })
	})
}
