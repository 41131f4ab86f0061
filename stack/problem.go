package stack

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is a problem with one key.
type Problem struct {
	// Key is the key, including list indexes: admins[0].name. For a file of another stack that cannot be read, it is the
	// file's name.
	Key string
	// Reason states the problem and what to write instead.
	Reason string
	// Commands fix the problem, with an example value. There are none if a person has to decide.
	Commands []string
}

// Problems is the error of a configuration: all its problems, sorted by key.
type Problems []Problem

func (p Problems) Error() string {
	var text strings.Builder
	if len(p) == 1 {
		text.WriteString("1 problem")
	} else {
		fmt.Fprintf(&text, "%d problems", len(p))
	}
	for i, problem := range p {
		fmt.Fprintf(&text, "\n  %s: %s", problem.Key, problem.Reason)
		if i+1 < len(p) && p[i+1].Key == problem.Key && slices.Equal(p[i+1].Commands, problem.Commands) {
			continue // the commands follow the last of these problems
		}
		for _, command := range problem.Commands {
			fmt.Fprintf(&text, "\n    %s", command)
		}
	}
	return text.String()
}

func (p Problems) sort() {
	slices.SortStableFunc(p, func(a, b Problem) int { return strings.Compare(a.Key, b.Key) })
}

func (p Problems) names(key string) bool {
	return slices.ContainsFunc(p, func(problem Problem) bool { return problem.Key == key })
}
