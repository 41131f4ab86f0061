package stack

import (
	"regexp"
	"strings"

	"immutable-infra/internal/rehearsal"
)

// source is the origin of a configuration. The zero value is for values without a stack.
type source struct {
	// stack and project are the names of the stack and the project.
	stack, project string
	// directory contains Pulumi.yaml and the stacks' files.
	directory string
	// encrypted reports whether the value of a key is encrypted.
	encrypted func(key string) bool
}

// hidden reports whether messages must not show the value of a key.
func (o source) hidden(key string) bool {
	key, _, _ = strings.Cut(key, "[")
	return isSecret(key) || o.encrypted != nil && o.encrypted(key)
}

// toSet returns the command that sets a key or a list element. It omits the value of a secret: Pulumi prompts for it,
// so that it does not end up in the shell's history.
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

// toRemove returns the command that removes a key or a list element.
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

// bare matches words that need no quotes in a shell, including command substitutions in double quotes.
var bare = regexp.MustCompile(`^([A-Za-z0-9_./:@%+,=-]+|"\$\(.*\)[^"]*")$`)

func quoted(value string) string {
	if bare.MatchString(value) {
		return value
	}
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}
