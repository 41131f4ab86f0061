package uptime

import (
	"encoding/json"
	"errors"
	"html"
	"strconv"
	"strings"
)

// text is a string as the API tells it: now and then it escapes what was sent to
// it as if it were for a web page.
type text string

func (t *text) UnmarshalJSON(data []byte) error {
	var read *string
	if err := json.Unmarshal(data, &read); err != nil {
		return err
	}
	*t = ""
	if read != nil {
		*t = text(html.UnescapeString(*read))
	}
	return nil
}

// number is a whole number, which the API writes as one or as a string.
type number int64

func (n *number) UnmarshalJSON(data []byte) error {
	written := strings.Trim(string(data), `"`)
	if written == "null" || written == "" {
		*n = 0
		return nil
	}
	read, err := strconv.ParseInt(written, 10, 64)
	if err != nil {
		return errors.New("something that should be a whole number is none")
	}
	*n = number(read)
	return nil
}

// flag is a truth value, which the API writes as one, as a string or as a number.
type flag bool

func (f *flag) UnmarshalJSON(data []byte) error {
	written := strings.Trim(string(data), `"`)
	if written == "null" || written == "" {
		*f = false
		return nil
	}
	read, err := strconv.ParseBool(strings.ToLower(written))
	if err != nil {
		return errors.New("something that should be a truth value is none")
	}
	*f = flag(read)
	return nil
}
