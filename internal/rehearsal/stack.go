// Package rehearsal has the rule which stacks run on the local cloud.
package rehearsal

import "strings"

// Stack reports whether a stack runs on the local cloud: local, and each whose name begins with local-.
func Stack(name string) bool { return name == "local" || strings.HasPrefix(name, "local-") }
