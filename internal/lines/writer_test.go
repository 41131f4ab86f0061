package lines

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEachLineIsShortWholeAndUTF8(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for name, test := range map[string]struct {
		chunks []string
		want   string
	}{
		"lines":               {[]string{"one\ntwo\n"}, "one\ntwo\n"},
		"lines in pieces":     {[]string{"o", "ne\nt", "wo", "\n"}, "one\ntwo\n"},
		"empty lines":         {[]string{"one\n\n\ntwo\n"}, "one\n\n\ntwo\n"},
		"no end":              {[]string{"one\ntwo"}, "one\ntwo\n"},
		"a progress bar":      {[]string{"\r 1 %\r", " 2 %", "\r\r 3 %\n"}, " 1 %\n 2 %\n 3 %\n"},
		"lines of DOS":        {[]string{"one\r", "\ntwo\r\n"}, "one\ntwo\n"},
		"a long line":         {[]string{long, long, "\nnext\n"}, long[:8192] + "\nnext\n"},
		"a long line, no end": {[]string{long}, long[:8192] + "\n"},
		"not UTF-8":           {[]string{"caf\xe9 caf", "\xc3", "\xa9\n"}, "caf? café\n"},
		"cut in a rune":       {[]string{long[:8191] + "é\n"}, long[:8191] + "?\n"},
		"nothing":             {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got strings.Builder
			writer := NewWriter(&got)
			for _, chunk := range test.chunks {
				written, err := writer.Write([]byte(chunk))
				require.NoError(t, err)
				require.Equal(t, len(chunk), written)
			}
			require.NoError(t, writer.Close())
			require.Equal(t, test.want, got.String())
		})
	}
}

func TestLineIsWrittenWhenItEnds(t *testing.T) {
	var got strings.Builder
	writer := NewWriter(&got)
	_, err := io.WriteString(writer, "one\ntw")
	require.NoError(t, err)
	require.Equal(t, "one\n", got.String())
}

func TestErrorOfTheTargetIsReturned(t *testing.T) {
	broken := errors.New("broken")
	reader, target := io.Pipe()
	require.NoError(t, reader.CloseWithError(broken))
	_, err := io.WriteString(NewWriter(target), "one\n")
	require.ErrorIs(t, err, broken)
}

func TestPrintableTextHasNoControlCharactersAndALimit(t *testing.T) {
	for text, want := range map[string]string{
		"caf\u00e9 200 %":                       "caf\u00e9 200 %",
		"\x1b]0;title\a\nnext":                  " ]0;title  next",
		"\x1b[31m::add-mask::\r":                " [31m::add-mask:: ",
		"bad \xff\xfe bytes":                    "bad ? bytes",
		strings.Repeat("x", 41):                 strings.Repeat("x", 40) + "...",
		"\u00e9" + strings.Repeat("\u00e9", 20): strings.Repeat("\u00e9", 20) + "...",
		strings.Repeat("x", 39) + "\u00e9":      strings.Repeat("x", 39) + "...",
	} {
		require.Equal(t, want, Printable(text, 40), "%q", text)
	}
}
