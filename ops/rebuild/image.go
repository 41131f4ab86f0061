package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"
)

const (
	// debian is Debian's account at AWS, which publishes its images.
	debian = "136693071363"
	// release is the release of Debian that the servers are made of.
	release = "13"
	// lookupTimeout is for how long AWS may think.
	lookupTimeout = time.Minute
)

// image is a machine image, as `aws ec2 describe-images` tells it.
type image struct {
	ImageID      string    `json:"ImageId"`
	Name         string    `json:"Name"`
	CreationDate time.Time `json:"CreationDate"`
}

// newestImage looks up Debian's newest image for an architecture ("arm64" or "amd64")
// in a region.
func newestImage(ctx context.Context, region, architecture string) (image, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, "aws", "ec2", "describe-images", "--region", region, "--owners", debian,
		"--output", "json",
		"--filters", fmt.Sprintf("Name=name,Values=debian-%s-%s-*", release, architecture), "Name=state,Values=available")
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return image{}, fmt.Errorf("look up the images of Debian %s in %s: %w: %s", release, region, err,
			strings.TrimSpace(stderr.String()))
	}
	var found struct{ Images []image }
	if err := json.Unmarshal(stdout.Bytes(), &found); err != nil {
		return image{}, fmt.Errorf("understand what AWS says of the images of Debian %s: %w", release, err)
	}
	if len(found.Images) == 0 {
		return image{}, fmt.Errorf("AWS knows no image of Debian %s for %s in %s; is aws:region right?", release,
			architecture, region)
	}
	return slices.MaxFunc(found.Images, func(a, b image) int { return a.CreationDate.Compare(b.CreationDate) }), nil
}
