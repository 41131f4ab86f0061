// Package releasetest creates builds of a site for tests.
package releasetest

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Site is one build: the content of each file by its path.
type Site map[string]string

// Manifest returns the build's SHA256SUMS.
func (s Site) Manifest() string {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(&text, "%x  ./%s\n", sha256.Sum256([]byte(s[name])), name)
	}
	return text.String()
}

// ID returns the build's release id.
func (s Site) ID() string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(s.Manifest())))[:16]
}

// With returns the build with one file added or changed.
func (s Site) With(name, content string) Site {
	changed := maps.Clone(s)
	changed[name] = content
	return changed
}
