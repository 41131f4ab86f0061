// Package backend runs the Pulumi CLI with its state in a bucket.
package backend

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// URL returns the backend URL for a bucket. endpoint is the URL of an S3-compatible store; "" means AWS.
func URL(bucket, region, endpoint string) string {
	query := url.Values{"region": {region}}
	if endpoint != "" {
		query.Set("endpoint", endpoint)
		query.Set("s3ForcePathStyle", "true")
	}
	return (&url.URL{Scheme: "s3", Host: bucket, RawQuery: query.Encode()}).String()
}

// StateKeys returns the possible keys of a stack's state. Only one of them exists.
func StateKeys(project, stack string) []string {
	key := ".pulumi/stacks/" + project + "/" + stack + ".json"
	return []string{key, key + ".gz"}
}

// Backend runs Pulumi in a project's directory with its state in a bucket.
type Backend struct {
	URL string
	// Project is the project's directory, and ProjectName its name.
	Project, ProjectName string
}

// Login makes the bucket Pulumi's default backend. PULUMI_BACKEND_URL overrides it.
func (b Backend) Login(ctx context.Context) error {
	_, err := b.run(ctx, "login", b.URL)
	return err
}

// HasStack reports whether the state contains the stack.
func (b Backend) HasStack(ctx context.Context, stack string) (bool, error) {
	output, err := b.run(ctx, "stack", "ls", "--json")
	if err != nil {
		return false, err
	}
	var stacks []struct{ Name string }
	if err := json.Unmarshal(output, &stacks); err != nil {
		return false, fmt.Errorf("cannot parse the output of pulumi stack ls: %w", err)
	}
	return slices.ContainsFunc(stacks, func(s struct{ Name string }) bool {
		return s.Name == stack || s.Name == "organization/"+b.ProjectName+"/"+stack
	}), nil
}

// Init creates the stack. Pulumi writes the secrets provider to the stack's file.
func (b Backend) Init(ctx context.Context, stack, secretsProvider string) error {
	_, err := b.run(ctx, "stack", "init", stack, "--secrets-provider", secretsProvider)
	return err
}

// run returns Pulumi's stdout; the error contains its stderr.
func (b Backend) run(ctx context.Context, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, "pulumi", append(args, "--non-interactive", "--color", "never")...)
	command.Dir = b.Project
	// The variable overrides a login.
	command.Env = append(os.Environ(), "PULUMI_BACKEND_URL="+b.URL, "PULUMI_SKIP_UPDATE_CHECK=true")
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, errors.New("cannot find pulumi on the PATH; install it: https://www.pulumi.com/docs/install/")
	}
	if err != nil {
		return nil, fmt.Errorf("pulumi %s: %w\n%s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}
