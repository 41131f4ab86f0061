package stack

import (
	"regexp"
	"strings"
)

// source is where a configuration comes from. None of it is known to those who
// have its values only.
type source struct {
	// stack is the stack's name, project the project's.
	stack, project string
	// directory is that of Pulumi.yaml and the stacks' files.
	directory string
	// encrypted tells whether the value of a key is.
	encrypted func(key string) bool
}

// hidden tells whether the value of a key is not to be shown.
func (o source) hidden(key string) bool {
	key, _, _ = strings.Cut(key, "[")
	return isSecret(key) || o.encrypted != nil && o.encrypted(key)
}

// toSet is the command that sets a key, or a place of a list. The value of a secret is
// not in it: Pulumi asks for it then, and no shell keeps it.
func (o source) toSet(key, value string) string {
	if o.stack != "" && !rehearsal(o.stack) {
		// What the guards would refuse next is no example.
		value = strings.NewReplacer("ada@example.org", "YOU@YOUR-DOMAIN", "example.org", "YOUR-DOMAIN", "192.0.2.7", "YOUR-ADDRESS", placeholderZone, "YOUR-ZONE-ID").Replace(value)
	}
	switch {
	case isSecret(key):
		return o.command("set --secret " + key)
	case isPath(key):
		return o.command("set --path '" + key + "' " + quoted(value))
	default:
		return o.command("set " + key + " " + quoted(value))
	}
}

// toRemove is the command that removes a key, or a place of a list.
func (o source) toRemove(key string) string {
	if isPath(key) {
		return o.command("rm --path '" + key + "'")
	}
	return o.command("rm " + key)
}

func (o source) command(what string) string {
	if o.stack != "" {
		what += " --stack " + o.stack
	}
	return "pulumi config " + what
}

func isPath(key string) bool {
	return strings.ContainsAny(key, "[.")
}

// bare matches what a shell takes as it is, substitutions in double quotes included.
var bare = regexp.MustCompile(`^([A-Za-z0-9_./:@%+,=-]+|"\$\(.*\)[^"]*")$`)

func quoted(value string) string {
	if bare.MatchString(value) {
		return value
	}
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}
