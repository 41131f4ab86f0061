package stack

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is one wrong key.
type Problem struct {
	// Key names it, and the place in a list: admins[0].name. A file of another
	// stack that cannot be read is named by its path.
	Key string
	// Reason says what is wrong and what to write instead.
	Reason string
	// Commands put it right, with an example of a value; none where somebody has
	// to look.
	Commands []string
}

// Problems is the error of a configuration: everything that is wrong with it,
// sorted by key.
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
			continue // said once, at the end
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
