// Package rehearsal defines which stacks run on the local cloud.
package rehearsal

import "strings"

// Stack reports whether a stack runs on the local cloud: local, and all stacks whose names start with local-.
func Stack(name string) bool { return name == "local" || strings.HasPrefix(name, "local-") }
