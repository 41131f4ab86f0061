// Package secrets searches for secrets in plain text.
package secrets

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Configured returns the secrets in a stack's configuration, by key. config is the output of
// `pulumi config --show-secrets --json`.
func Configured(config []byte) (map[string]string, error) {
	var values map[string]struct {
		Value  string
		Secret bool
	}
	if err := json.Unmarshal(config, &values); err != nil {
		return nil, fmt.Errorf("cannot parse the configuration: %w", err)
	}
	secrets := map[string]string{}
	for key, value := range values {
		if value.Secret {
			secrets[key] = value.Value
		}
	}
	return secrets, nil
}

// PrivateKeys returns the private keys in a state, each as the longest line of its body. state is the output of
// `pulumi stack export --show-secrets`.
func PrivateKeys(state []byte) ([]string, error) {
	var tree any
	if err := json.Unmarshal(state, &tree); err != nil {
		return nil, fmt.Errorf("cannot parse the state: %w", err)
	}
	var keys []string
	var walk func(node any)
	walk = func(node any) {
		switch node := node.(type) {
		case map[string]any:
			for _, child := range node {
				walk(child)
			}
		case []any:
			for _, child := range node {
				walk(child)
			}
		case string:
			// The plain text of a secret is JSON in a string.
			var inner any
			if strings.HasPrefix(node, `"`) || strings.HasPrefix(node, "{") || strings.HasPrefix(node, "[") {
				if json.Unmarshal([]byte(node), &inner) == nil {
					walk(inner)
					return
				}
			}
			keys = append(keys, PEMKeys(node)...)
		}
	}
	walk(tree)
	slices.Sort(keys)
	return slices.Compact(keys), nil
}

// PEMKeys returns the private keys in a text, each as the longest line of its body. Of several longest lines, it
// returns the last, because all keys of a kind may begin alike.
func PEMKeys(text string) []string {
	var keys []string
	var longest string
	within := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "-----BEGIN ") && strings.Contains(line, "PRIVATE KEY"):
			within, longest = true, ""
		case strings.HasPrefix(line, "-----END ") && within:
			within = false
			keys = append(keys, longest)
		case within && len(line) >= len(longest):
			longest = line
		}
	}
	return keys
}

// In reports whether a text contains a secret, in plain text or encoded as JSON.
func In(content []byte, secret string) bool {
	if bytes.Contains(content, []byte(secret)) {
		return true
	}
	quoted, err := json.Marshal(secret)
	return err == nil && bytes.Contains(content, quoted[1:len(quoted)-1])
}
