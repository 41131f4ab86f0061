package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testtool"
)

const testStack = `# The stack that a change is tried on.
config:
  aws:region: eu-central-1
  immutable-infra:ami: ami-0000000000000000a # Debian 13
  # With Grafana.
  immutable-infra:instanceType: t4g.small
  immutable-infra:admins:
    - name: admin
`

const productionStack = `config:
  aws:region: eu-west-1
  immutable-infra:generation: 41
  immutable-infra:instanceType: t3.micro
  immutable-infra:ami: ami-0000000000000000c
`

// project creates a directory with two stacks, and a fake aws that prints images and records its calls.
func project(t *testing.T, images string) (calls func() string) {
	t.Helper()
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("Pulumi.test.yaml", []byte(testStack), 0o644))
	require.NoError(t, os.WriteFile("Pulumi.production.yaml", []byte(productionStack), 0o644))
	bin := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\necho \"$*\" >>%s/calls\n%s\n", bin, images)
	testtool.WriteProgram(t, filepath.Join(bin, "aws"), script)
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	return func() string {
		content, err := os.ReadFile(filepath.Join(bin, "calls"))
		require.NoError(t, err)
		return string(content)
	}
}

const images = `cat <<'END'
{"Images": [
  {"ImageId": "ami-0000000000000000a", "Name": "debian-13-arm64-20260901-1",
   "CreationDate": "2026-09-01T10:00:00.000Z"},
  {"ImageId": "ami-0000000000000000c", "Name": "debian-13-arm64-20261101-2",
   "CreationDate": "2026-11-01T10:00:00.000Z"},
  {"ImageId": "ami-0000000000000000b", "Name": "debian-13-arm64-20261001-3",
   "CreationDate": "2026-10-01T10:00:00.000Z"}
]}
END`

func rebuilt(t *testing.T, stacks ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errors bytes.Buffer
	code = run(t.Context(), stacks, &out, &errors)
	return code, out.String(), errors.String()
}

func file(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(content)
}

func TestRebuildChangesOnlyTheGenerationAndTheImage(t *testing.T) {
	calls := project(t, images)
	code, stdout, stderr := rebuilt(t, "test", "production")
	require.Equal(t, exitDone, code, stderr)
	require.Equal(t, `# The stack that a change is tried on.
config:
  aws:region: eu-central-1
  immutable-infra:ami: ami-0000000000000000c # Debian 13
  immutable-infra:generation: 2
  # With Grafana.
  immutable-infra:instanceType: t4g.small
  immutable-infra:admins:
    - name: admin
`, file(t, "Pulumi.test.yaml"))
	require.Equal(t, `config:
  aws:region: eu-west-1
  immutable-infra:generation: 42
  immutable-infra:instanceType: t3.micro
  immutable-infra:ami: ami-0000000000000000c
`, file(t, "Pulumi.production.yaml"))
	require.Contains(t, stdout,
		"- `test`: generation 2, and the image becomes `ami-0000000000000000c` instead of `ami-0000000000000000a` "+
			"(debian-13-arm64-20261101-2, of 1 November 2026)\n")
	require.Contains(t, stdout, "- `production`: generation 42, and the image stays `ami-0000000000000000c`")
	require.Contains(t, calls(),
		"ec2 describe-images --region eu-central-1 --owners 136693071363 --output json --filters "+
			"Name=name,Values=debian-13-arm64-* Name=state,Values=available\n")
	require.Contains(t, calls(),
		"--region eu-west-1 --owners 136693071363 --output json --filters Name=name,Values=debian-13-amd64-*")

	code, _, stderr = rebuilt(t, "test")
	require.Equal(t, exitDone, code, stderr)
	require.Contains(t, file(t, "Pulumi.test.yaml"), "immutable-infra:generation: 3\n", "a second time")
}

func TestQuotedGenerationIsIncremented(t *testing.T) {
	project(t, images)
	quoted := strings.Replace(productionStack, "generation: 41", `generation: "41"`, 1)
	require.NoError(t, os.WriteFile("Pulumi.production.yaml", []byte(quoted), 0o644))
	code, stdout, stderr := rebuilt(t, "production")
	require.Equal(t, exitDone, code, stderr)
	require.Contains(t, file(t, "Pulumi.production.yaml"), "immutable-infra:generation: 42\n")
	require.Contains(t, stdout, "- `production`: generation 42,")
}

func TestGenerationThatIsNotANumberIsAnError(t *testing.T) {
	project(t, images)
	broken := strings.Replace(productionStack, "generation: 41", "generation: newest", 1)
	require.NoError(t, os.WriteFile("Pulumi.production.yaml", []byte(broken), 0o644))
	code, _, stderr := rebuilt(t, "production")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr,
		`Pulumi.production.yaml: immutable-infra:generation is "newest"; expected an integer`)
	require.Equal(t, broken, file(t, "Pulumi.production.yaml"))
}

func TestShippedStacksCanBeRebuilt(t *testing.T) {
	texts := map[string]string{}
	for _, stack := range []string{"test", "production"} {
		texts[stack] = file(t, "../../Pulumi."+stack+".yaml")
	}
	project(t, images)
	for stack, text := range texts {
		require.NoError(t, os.WriteFile("Pulumi."+stack+".yaml", []byte(text), 0o644))
		code, _, stderr := rebuilt(t, stack)
		require.Equal(t, exitDone, code, stderr)
	}
}

func TestFailedRebuildChangesNoFile(t *testing.T) {
	for name, test := range map[string]struct {
		images, production string
		stacks             []string
		code               int
		message            string
	}{
		"no credentials": {"echo 'Unable to locate credentials' >&2; exit 253", productionStack, []string{"test"},
			exitFailed, "exit status 253: Unable to locate credentials"},
		"no image": {`echo '{"Images": []}'`, productionStack, []string{"test"}, exitFailed,
			"AWS has no image of Debian 13 for arm64 in eu-central-1"},
		"no JSON": {"echo none", productionStack, []string{"test"}, exitFailed, "cannot parse the images of Debian 13"},
		"no such stack": {images, productionStack, []string{"test", "staging"}, exitFailed,
			"cannot rebuild stack staging: cannot read its configuration: open Pulumi.staging.yaml"},
		"no image set": {images, "config:\n  aws:region: eu-west-1\n", []string{"test", "production"}, exitFailed,
			"Pulumi.production.yaml: immutable-infra:ami is not set"},
		"no region": {images, "config:\n  immutable-infra:ami: ami-1\n", []string{"test", "production"}, exitFailed,
			"Pulumi.production.yaml: aws:region is not set"},
		"on a single line": {images, "config: {'aws:region': eu-west-1, 'immutable-infra:ami': ami-1}\n",
			[]string{"test", "production"}, exitFailed, "write each on a line of its own"},
		"no configuration": {images, "config: [ami]\n", []string{"test", "production"}, exitFailed,
			"Pulumi.production.yaml: not the configuration of a stack"},
		"no stack": {images, productionStack, nil, exitUsage, "no stacks given"},
	} {
		t.Run(name, func(t *testing.T) {
			project(t, test.images)
			require.NoError(t, os.WriteFile("Pulumi.production.yaml", []byte(test.production), 0o644))
			code, stdout, stderr := rebuilt(t, test.stacks...)
			require.Equal(t, test.code, code)
			require.Contains(t, stderr, test.message)
			require.Empty(t, stdout)
			require.Equal(t, testStack, file(t, "Pulumi.test.yaml"))
			require.Equal(t, test.production, file(t, "Pulumi.production.yaml"))
		})
	}
}

// FuzzStackFile sets the image and the generation in arbitrary stack files.
func FuzzStackFile(f *testing.F) {
	alias := "config:\n  immutable-infra:ami: &a ami-0\n  immutable-infra:generation: *a\n"
	for _, seed := range []string{testStack, productionStack, "config: []\n", alias, "- a\n", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		before, err := parse(text)
		if err != nil || before.AMI == "" {
			return
		}
		after, err := parse(set(set(text, "ami", "ami-1"), "generation", "2"))
		if err == nil && after.AMI == "ami-1" && after.Generation == "2" {
			require.Equal(t, before.InstanceType, after.InstanceType)
		}
	})
}
