package stack

import (
	"regexp"
	"strings"

	"immutable-infra/internal/rehearsal"
)

// source is the origin of a configuration. It is empty for values alone.
type source struct {
	// stack is the stack's name, project the project's.
	stack, project string
	// directory is that of Pulumi.yaml and the stacks' files.
	directory string
	// encrypted reports whether the value of a key is encrypted.
	encrypted func(key string) bool
}

// hidden reports whether messages must not show the value of a key.
func (o source) hidden(key string) bool {
	key, _, _ = strings.Cut(key, "[")
	return isSecret(key) || o.encrypted != nil && o.encrypted(key)
}

// toSet is the command that sets a key, or an element of a list. It has no value of a secret: Pulumi prompts for it,
// and no shell history keeps it.
func (o source) toSet(key, value string) string {
	if o.stack != "" && !rehearsal.Stack(o.stack) {
		// The guards would reject these examples.
		value = strings.NewReplacer("ada@example.org", "YOU@YOUR-DOMAIN", "example.org", "YOUR-DOMAIN", "192.0.2.7",
			"YOUR-ADDRESS", placeholderZone, "YOUR-ZONE-ID").Replace(value)
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

// toRemove is the command that removes a key, or an element of a list.
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

// bare matches words that need no quotes in a shell, among them substitutions in double quotes.
var bare = regexp.MustCompile(`^([A-Za-z0-9_./:@%+,=-]+|"\$\(.*\)[^"]*")$`)

func quoted(value string) string {
	if bare.MatchString(value) {
		return value
	}
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}
