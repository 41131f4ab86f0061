package uptime

import (
	"encoding/json"
	"errors"
	"html"
	"strconv"
	"strings"
)

// text is a string, in which the API sometimes escapes characters for HTML.
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

// number is an integer, which the API writes as a number or as a string.
type number int64

func (n *number) UnmarshalJSON(data []byte) error {
	written := strings.Trim(string(data), `"`)
	if written == "null" || written == "" {
		*n = 0
		return nil
	}
	read, err := strconv.ParseInt(written, 10, 64)
	if err != nil {
		return errors.New("expected an integer")
	}
	*n = number(read)
	return nil
}

// flag is a boolean, which the API writes as a boolean, a string or a number.
type flag bool

func (f *flag) UnmarshalJSON(data []byte) error {
	written := strings.Trim(string(data), `"`)
	if written == "null" || written == "" {
		*f = false
		return nil
	}
	read, err := strconv.ParseBool(strings.ToLower(written))
	if err != nil {
		return errors.New("expected a boolean")
	}
	*f = flag(read)
	return nil
}
