package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"github.com/nyaruka/phonenumbers"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
)

// expert lets libraries do the work: gjson, sjson, the port of libphonenumber.
type expert struct{ register *roaring64.Bitmap }

func (e expert) scrub(value []byte) (bool, []byte, error) {
	if !gjson.ValidBytes(value) || !gjson.ParseBytes(value).IsObject() {
		return false, nil, errors.New("the value is no JSON object")
	}
	blocked, stamp := true, `{"verdict":"blocked","reason":"invalid-number","number":null}`
	if parsed, err := phonenumbers.Parse(gjson.GetBytes(value, "phone").Str, "FR"); err == nil {
		e164 := phonenumbers.Format(parsed, phonenumbers.E164)
		number, err := strconv.ParseUint(e164[1:], 10, 64)
		if err != nil {
			return false, nil, err
		}
		verdict, reason := "allowed", "clear"
		if blocked = e.register.Contains(number); blocked {
			verdict, reason = "blocked", "opposed"
		}
		stamp = fmt.Sprintf(`{"verdict":%q,"reason":%q,"number":%q}`, verdict, reason, e164)
	}
	stamped, err := sjson.SetRawBytes(value, "scrub", []byte(stamp))
	return blocked, stamped, err
}

func (expert) done() {}
