package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	// settleTime is how long the new server must answer every request before the window ends.
	settleTime = time.Second
	// lostSYN is the connect time at or above which the first SYN was lost: TCP retransmits it after 1 s (RFC 6298).
	lostSYN = 900 * time.Millisecond
	// maxRuns is the maximum number of printed result lines. The JSON file has every request.
	maxRuns = 40
)

// connectBounds are the upper bounds of the classes of connect times: normal, slow but without a lost SYN, and with one
// and two retransmissions.
var connectBounds = [...]time.Duration{
	100 * time.Millisecond, lostSYN, 1900 * time.Millisecond, 3500 * time.Millisecond,
}

// phase summarizes the fresh requests sent in one part of the measurement.
type phase struct {
	Name string       `json:"name"`
	From milliseconds `json:"fromMs"`
	To   milliseconds `json:"toMs"`
	Sent int          `json:"sent"`
	// Old, New and Others count the answers by server, the next four fields the requests without an answer.
	Old      int `json:"old"`
	New      int `json:"new"`
	Others   int `json:"others"`
	Refused  int `json:"refused"`
	TimedOut int `json:"timedOut"`
	Reset    int `json:"reset"`
	Failed   int `json:"otherFailures"`
	// Late counts the requests that were sent more than an interval after they were due.
	Late int `json:"late"`
	// LostSYN counts the requests whose first SYN, or the response to it, was lost.
	LostSYN int `json:"lostSYN"`
	// Connects counts the connect times by class; the last class has no upper bound. MaxConnect is the longest.
	Connects   [len(connectBounds) + 1]int `json:"connects"`
	MaxConnect milliseconds                `json:"maxConnectMs"`
}

// report holds the results. Times are relative to the beginning of the measurement.
type report struct {
	Stack   string    `json:"stack"`
	Site    string    `json:"site"`
	Address string    `json:"address"`
	Began   time.Time `json:"began"`
	// Interval is the time between fresh requests, Timeout the limit of each request.
	Interval milliseconds `json:"intervalMs"`
	Timeout  milliseconds `json:"timeoutMs"`
	// Old and New are the servers' ids. New is "" if only the old server answered.
	Old string `json:"old"`
	New string `json:"new"`
	// Association is the time of the move according to EC2's API, if it was queried. Printed times are relative to Zero:
	// the association or, without it, the beginning of the window.
	Association *association `json:"association,omitempty"`
	Zero        milliseconds `json:"zeroMs"`
	// CommandEnded is the time at which the command ended, or 0.
	CommandEnded milliseconds `json:"commandEndedMs,omitempty"`
	// FirstNew and LastOld are the arrival times of the new server's first answer and the old server's last one.
	FirstNew milliseconds `json:"firstNewMs"`
	LastOld  milliseconds `json:"lastOldMs"`
	// Settled reports whether the window ended before the measurement.
	Settled bool `json:"settled"`
	// LongestGap is the longest time without an answer. It began at GapFrom.
	LongestGap milliseconds `json:"longestGapMs"`
	GapFrom    milliseconds `json:"gapFromMs"`
	// Behind is the largest delay of a request. If it is not small, this machine was too busy for an accurate measurement.
	Behind       milliseconds `json:"behindMs"`
	MostInFlight int          `json:"mostInFlight"`
	// Returned counts the answers of the old server after the window.
	Returned int              `json:"oldAfterWindow"`
	Phases   []phase          `json:"phases"`
	Kept     []keptConnection `json:"kept"`
	Fresh    []request        `json:"fresh"`

	// windowed holds the requests in the window.
	windowed []request
}

// newReport evaluates a finished measurement.
func newReport(stack, address string, m *measurement) report {
	r := report{
		Stack: stack, Site: m.site.name, Address: address, Began: m.began,
		Interval: milliseconds(m.interval), Timeout: milliseconds(m.timeout),
		Old: m.old, New: m.successor, Association: m.association,
		CommandEnded: milliseconds(m.commandEnded), MostInFlight: m.mostInFlight,
		Kept: m.kept, Fresh: m.fresh, Phases: []phase{},
	}
	slices.SortFunc(r.Kept, func(a, b keptConnection) int {
		return cmp.Or(cmp.Compare(a.Visitor, b.Visitor), cmp.Compare(a.Opened, b.Opened))
	})
	for _, request := range r.Fresh {
		r.Behind = max(r.Behind, request.Sent-request.Due)
	}
	r.findGap()
	begin, end := r.window()
	names := []string{"before", "window", "after"}
	for i, part := range [][]request{r.Fresh[:begin], r.Fresh[begin:end], r.Fresh[end:]} {
		if len(part) > 0 {
			r.Phases = append(r.Phases, r.count(names[i], part))
		}
	}
	r.windowed, r.Settled = r.Fresh[begin:end], end < len(r.Fresh)
	if begin < len(r.Fresh) {
		r.Zero = r.Fresh[begin].Sent
	}
	if r.Association != nil {
		r.Zero = r.Association.After
	}
	for i, request := range r.Fresh {
		switch {
		case request.Server == "":
		case request.Server == r.Old && i < end:
			r.LastOld = max(r.LastOld, request.Ended)
		case request.Server == r.Old:
			r.Returned++
		case request.Server == r.New && (r.FirstNew == 0 || request.Ended < r.FirstNew):
			r.FirstNew = request.Ended
		}
	}
	return r
}

// window returns the bounds of the requests that the move affected. It begins with the association, or earlier
// with the first of the consecutive requests before the new server's first answer that the old server did not
// answer. It ends when the new server has answered every request for settleTime without a lost SYN. Without a
// move, the window is empty and at the end.
func (r report) window() (begin, end int) {
	if r.New == "" {
		return len(r.Fresh), len(r.Fresh)
	}
	isNew := func(request request) bool { return request.Server == r.New }
	begin = slices.IndexFunc(r.Fresh, isNew)
	firstNew := begin
	for begin > 0 && r.Fresh[begin-1].Server != r.Old {
		begin--
	}
	if r.Association != nil {
		associated := slices.IndexFunc(r.Fresh, func(request request) bool { return request.Sent >= r.Association.After })
		if associated >= 0 {
			begin = min(begin, associated)
		}
	}
	end = firstNew
	for i, request := range r.Fresh[firstNew:] {
		switch {
		case !isNew(request) || time.Duration(request.Connect) >= lostSYN:
			end = firstNew + i + 1
		case end < len(r.Fresh) && request.Sent-r.Fresh[end].Sent >= milliseconds(settleTime):
			return begin, end
		}
	}
	return begin, len(r.Fresh)
}

// count summarizes the requests of a phase.
func (r report) count(name string, requests []request) phase {
	p := phase{Name: name, From: requests[0].Sent, To: requests[len(requests)-1].Sent, Sent: len(requests)}
	for _, request := range requests {
		switch {
		case request.Server == r.Old:
			p.Old++
		case request.Server != "" && request.Server == r.New:
			p.New++
		case request.Server != "":
			p.Others++
		case request.Failure == kindRefused:
			p.Refused++
		case request.Failure == kindTimedOut:
			p.TimedOut++
		case request.Failure == kindReset:
			p.Reset++
		default:
			p.Failed++
		}
		if request.Sent-request.Due > r.Interval {
			p.Late++
		}
		if request.FailedIn == connecting {
			if request.Failure == kindTimedOut {
				p.LostSYN++
			}
			continue
		}
		if time.Duration(request.Connect) >= lostSYN {
			p.LostSYN++
		}
		class, _ := slices.BinarySearch(connectBounds[:], time.Duration(request.Connect))
		p.Connects[class]++
		p.MaxConnect = max(p.MaxConnect, request.Connect)
	}
	return p
}

// findGap finds the longest time between two answers.
func (r *report) findGap() {
	var ends []milliseconds
	for _, request := range r.Fresh {
		if request.Server != "" {
			ends = append(ends, request.Ended)
		}
	}
	slices.Sort(ends)
	for i := 1; i < len(ends); i++ {
		if gap := ends[i] - ends[i-1]; gap > r.LongestGap {
			r.LongestGap, r.GapFrom = gap, ends[i-1]
		}
	}
}

// at formats a time relative to Zero.
func (r report) at(t milliseconds) string {
	return fmt.Sprintf("%+.3f s", time.Duration(t-r.Zero).Seconds())
}

// print writes the results in Markdown.
func (r report) print(w io.Writer) error {
	var text strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&text, format+"\n", args...) }
	line("# %s at %s, stack %s\n", r.Site, r.Address, r.Stack)
	line("%s, a request every %s on a new connection, abandoned after %s.\n", r.Began.UTC().Format(time.RFC3339),
		time.Duration(r.Interval), time.Duration(r.Timeout))
	if r.New == "" {
		line("**No move was observed**: no other server than %s answered.\n", r.Old)
	} else {
		r.printMoments(line)
	}
	line("| phase | from | to | sent | old server | new server | others | refused | timed out | reset | " +
		"other failures | late |")
	line("|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, p := range r.Phases {
		line("| %s | %s | %s | %d | %d | %d | %d | %d | %d | %d | %d | %d |", p.Name, r.at(p.From), r.at(p.To), p.Sent,
			p.Old, p.New, p.Others, p.Refused, p.TimedOut, p.Reset, p.Failed, p.Late)
	}
	line("\nThe largest delay of a request was %s; up to %d were in flight.\n",
		time.Duration(r.Behind).Round(time.Millisecond), r.MostInFlight)

	line("## Connect times\n\nTCP retransmits a lost SYN after a second, and again later: such a request is slow, " +
		"not lost.\n")
	line("| phase | up to 0.1 s | 0.9 s | 1.9 s | 3.5 s | longer | longest | first SYN lost |")
	line("|---|---|---|---|---|---|---|---|")
	for _, p := range r.Phases {
		line("| %s | %d | %d | %d | %d | %d | %.3f s | %d |", p.Name, p.Connects[0], p.Connects[1], p.Connects[2],
			p.Connects[3], p.Connects[4], time.Duration(p.MaxConnect).Seconds(), p.LostSYN)
	}
	r.printRuns(line)
	r.printKept(line)
	_, err := io.WriteString(w, text.String())
	return err
}

// printMoments prints the times of the events of the move.
func (r report) printMoments(line func(format string, args ...any)) {
	line("| moment | |\n|---|---|")
	if r.Association != nil {
		line("| +0.000 s | last call of EC2's API that names %s |", r.Old)
		line("| %s | EC2's API has named %s |", r.at(r.Association.Before), r.Association.Server)
	} else {
		line("| +0.000 s | the first request that %s does not answer |", r.Old)
	}
	line("| %s | last answer of %s |", r.at(r.LastOld), r.Old)
	line("| %s | first answer of %s |", r.at(r.FirstNew), r.New)
	line("| %s | longest time without an answer: %.3f s |", r.at(r.GapFrom), time.Duration(r.LongestGap).Seconds())
	line("")
	if !r.Settled {
		line("The new server did not answer everything for %s before the measurement ended.\n", settleTime)
	}
	if r.Returned > 0 {
		line("**The address returned**: %s answered %d times after the window.\n", r.Old, r.Returned)
	}
}

// printRuns prints the results in the window, one line for each run of equal results.
func (r report) printRuns(line func(format string, args ...any)) {
	if len(r.windowed) == 0 {
		return
	}
	line("\n## The window\n\n| from | to | requests | result |\n|---|---|---|---|")
	var runs [][]request
	for i, request := range r.windowed {
		if i == 0 || r.windowed[i-1].result() != request.result() {
			runs = append(runs, nil)
		}
		runs[len(runs)-1] = append(runs[len(runs)-1], request)
	}
	for i, run := range runs {
		if i == maxRuns {
			line("\n%d more lines; the JSON file has every request.", len(runs)-maxRuns)
			break
		}
		line("| %s | %s | %d | %s |", r.at(run[0].Sent), r.at(run[len(run)-1].Sent), len(run), run[0].result())
	}
}

// printKept prints the connection that each visitor had during the move, or tried to open next.
func (r report) printKept(line func(format string, args ...any)) {
	if len(r.Kept) == 0 {
		return
	}
	asked, answered, ends := 0, 0, map[string]int{}
	for _, k := range r.Kept {
		asked += k.Asked
		ends[k.EndedBy]++
		for _, count := range k.Answers {
			answered += count
		}
	}
	line("\n## Kept connections\n\n%d requests, %d of them answered, on %d connections: %s.\n",
		asked, answered, len(r.Kept), counts(ends))
	line("| visitor | opened | ended | lived | ended by | answers | last answer |\n|---|---|---|---|---|---|---|")
	visitor := 0
	for _, k := range r.Kept {
		if k.Visitor == visitor || r.New != "" && k.Ended < r.Zero {
			continue
		}
		visitor = k.Visitor
		last := ""
		if len(k.Answers) > 0 {
			last = r.at(k.LastAnswer)
		}
		line("| %d | %s | %s | %.3f s | %s | %s | %s |", k.Visitor, r.at(k.Opened), r.at(k.Ended),
			time.Duration(k.Ended-k.Opened).Seconds(), k.EndedBy, counts(k.Answers), last)
	}
}

// counts formats named counts, such as "closed: 1, reset: 2".
func counts(numbers map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(numbers)) {
		parts = append(parts, fmt.Sprintf("%s: %d", name, numbers[name]))
	}
	return strings.Join(parts, ", ")
}
