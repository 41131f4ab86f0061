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
	// debian is the AWS account that publishes Debian's images.
	debian = "136693071363"
	// release is the servers' Debian release.
	release = "13"
	// lookupTimeout bounds the call to the AWS CLI.
	lookupTimeout = time.Minute
)

// image is a machine image in the output of `aws ec2 describe-images`.
type image struct {
	ImageID      string    `json:"ImageId"`
	Name         string    `json:"Name"`
	CreationDate time.Time `json:"CreationDate"`
}

// newestImage looks up Debian's newest image for an architecture ("arm64" or "amd64") in a region.
func newestImage(ctx context.Context, region, architecture string) (image, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, "aws", "ec2", "describe-images", "--region", region, "--owners", debian,
		"--output", "json",
		"--filters", fmt.Sprintf("Name=name,Values=debian-%s-%s-*", release, architecture), "Name=state,Values=available")
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return image{}, fmt.Errorf("cannot look up the images of Debian %s in %s: %w: %s", release, region, err,
			strings.TrimSpace(stderr.String()))
	}
	var found struct{ Images []image }
	if err := json.Unmarshal(stdout.Bytes(), &found); err != nil {
		return image{}, fmt.Errorf("cannot parse the images of Debian %s: %w", release, err)
	}
	if len(found.Images) == 0 {
		return image{}, fmt.Errorf("AWS has no image of Debian %s for %s in %s; check aws:region", release,
			architecture, region)
	}
	return slices.MaxFunc(found.Images, func(a, b image) int { return a.CreationDate.Compare(b.CreationDate) }), nil
}
