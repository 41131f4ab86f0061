package release

import (
	"encoding/json"
	"fmt"
	"os"
)

// Info is what release.json in a release's directory says about it.
type Info struct {
	// Release is the release's id.
	Release string `json:"release"`
	// Files is the number of files of the site.
	Files int `json:"files"`
	// Bytes is the sum of their sizes, in bytes.
	Bytes int64 `json:"bytes"`
}

// readInfo reads a release.json.
func readInfo(path string) (Info, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Info{}, err
	}
	var info Info
	if err := json.Unmarshal(text, &info); err != nil {
		return Info{}, fmt.Errorf("cannot parse %s: %w", path, err)
	}
	return info, nil
}
