package e2e

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The stacks of the rehearsal, and the URLs of their sites.
const (
	testStack       = "local-test"
	productionStack = "local-production"
	testURL         = "https://test.localcloud.test/"
	productionURL   = "https://production.localcloud.test/"
)

// promotion deploys a commit to test and promotes it to production, requires that a commit that fails in test does not
// reach production, and destroys test while visitors use production.
func promotion(t *testing.T, p *project) {
	checkout := p.copy(t)
	checkout.access(t)
	checkout.bound(t, testStack)
	checkout.bound(t, productionStack)
	// This is the setting for a runner whose address is not known in advance.
	checkout.replace(t, "Pulumi."+testStack+".yaml", "immutable-infra:sshAllowFrom: [198.18.0.1/32]",
		"immutable-infra:sshFromRunner: true")
	checkout.env = append(slices.Clone(p.env), "SSH_FROM=198.18.0.1/32")
	checkout.commit(t, "first")
	// As in the workflow, each stack is deployed with its own role.
	deploy := func(stack string) result {
		return checkout.run(t, 10*time.Minute, "make", "deploy", "STACK="+stack, "ROLE="+deployRole(stack))
	}
	alone := deploy(testStack)
	require.NoError(t, alone.err, alone.String())
	dialer := net.Dialer{Timeout: 2 * time.Second}
	_, err := dialer.DialContext(t.Context(), "tcp", net.JoinHostPort(p.outputsOf(t, testStack).VIP, "12222"))
	require.Error(t, err, "after the update, SSH is closed to the runner")
	// An administrator runs the first update of production, because no workflow may change the backup bucket's
	// settings.
	promote := func() result {
		return checkout.run(t, 20*time.Minute, "make", "promote", "FROM="+testStack, "TO="+productionStack)
	}
	promoted := promote()
	require.NoError(t, promoted.err, promoted.String())
	t.Logf("a promotion to an empty production took %.0f s:\n%s", promoted.took.Seconds(), steps(promoted))
	checkout.replace(t, "Pulumi."+productionStack+".yaml", "\nconfig:\n", "\nconfig:\n  immutable-infra:generation: 2\n")
	t.Cleanup(func() { destroyStacks(t, checkout) })
	replaced := deploy(productionStack)
	require.NoError(t, replaced.err, replaced.String())
	checkout.commit(t, "second")
	requireStateIsolation(t, checkout, testStack, productionStack)

	test, production := p.outputsOf(t, testStack), p.outputsOf(t, productionStack)
	require.Equal(t, testURL, test.URL)
	require.Equal(t, productionURL, production.URL)
	require.Equal(t, test.Release, production.Release, "production has the tested release")
	separate(t, p)
	for url, out := range map[string]outputs{testURL: test, productionURL: production} {
		status, server, _ := p.get(t, url+".well-known/server")
		require.Equal(t, http.StatusOK, status, url)
		require.Contains(t, server, out.ServerID)
	}

	// A commit that fails in test does not reach production.
	broken := filepath.Join(checkout.dir, "site", "broken.md")
	require.NoError(t, os.WriteFile(broken, []byte("---\ntitle: Broken\ndescription: Broken\n---\n{% if %}\n"), 0o644))
	checkout.commit(t, "broken")
	before := p.resourcesOf(t, productionStack)
	stopped := promote()
	require.Error(t, stopped.err)
	require.Contains(t, stopped.stderr, "cannot deploy to "+testStack+"; "+productionStack+" was not touched")
	require.Equal(t, before, p.resourcesOf(t, productionStack))
	require.Equal(t, production, p.outputsOf(t, productionStack))
	checkout.must(t, time.Minute, "git", "reset", "--quiet", "--hard", "HEAD~1")

	// Production is protected; test is not.
	refused := checkout.as(t, deployRole(productionStack)).run(t, 5*time.Minute, "pulumi", "destroy", "--yes",
		"--skip-preview", "--non-interactive", "--stack", productionStack)
	require.Error(t, refused.err, refused.String())
	require.Contains(t, refused.stdout+refused.stderr, "protect")
	// The engine deletes the default provider with which the program reads stack outputs. No resource belongs to that
	// provider.
	after := p.resourcesOf(t, productionStack)
	for _, resources := range []map[string]string{before, after} {
		delete(resources, "urn:pulumi:"+productionStack+"::immutable-infra::pulumi:providers:pulumi::default")
	}
	require.Equal(t, before, after, "none of its resources were deleted")

	visits := p.visitOften(t, productionURL)
	destroyed := checkout.as(t, deployRole(testStack)).run(t, 10*time.Minute, "pulumi", "destroy", "--yes",
		"--skip-preview", "--non-interactive", "--stack", testStack)
	requests, failures := visits()
	require.NoError(t, destroyed.err, destroyed.String())
	require.Empty(t, p.resourcesOf(t, testStack))
	require.Empty(t, failures)
	require.Greater(t, requests, 20)
	t.Logf("test was destroyed in %.0f s; %d requests to production meanwhile, none failed", destroyed.took.Seconds(),
		requests)
	smoke := checkout.run(t, time.Minute, "make", "smoke", "STACK="+productionStack)
	require.NoError(t, smoke.err, smoke.String())
	unchanged := checkout.run(t, 5*time.Minute, "make", "drift", "STACK="+productionStack, "ROLE="+previewRole)
	require.NoError(t, unchanged.err, unchanged.String())
	first := eventually(t, 2*time.Minute, func() (bool, string) {
		backups := p.must(t, time.Minute, "env", "-u", "AWS_CA_BUNDLE", "rclone", "lsf", "--recursive",
			":s3,env_auth=true:"+production.BackupBucket)
		return strings.Contains(backups, "history/manifests/"), backups
	})
	t.Logf("its first backup was uploaded %.0f s later", first.Seconds())
	drill := checkout.run(t, 5*time.Minute, "make", "restore-drill", "STACK="+productionStack, "ROLE="+drillRole)
	require.NoError(t, drill.err, drill.String())
}

// separate requires that no two stacks share an AWS resource, such as a bucket, an address or a key.
func separate(t *testing.T, p *project) {
	t.Helper()
	owners := map[string]string{}
	for _, stack := range []string{"local", testStack, productionStack} {
		buckets := 0
		for urn, id := range p.resourcesOf(t, stack) {
			kind := strings.Split(urn, "::")[2]
			// The ids of other resources need not be unique across stacks.
			if id == "" || !strings.Contains(kind, "aws:") {
				continue
			}
			if strings.HasSuffix(kind, "bucketV2:BucketV2") {
				buckets++
				require.True(t, strings.HasPrefix(id, stack+"-"), id)
			}
			require.NotContains(t, owners, kind+" "+id, "also of %s", stack)
			owners[kind+" "+id] = stack
		}
		require.Equal(t, 2, buckets, stack)
	}
}

// steps returns the lines of a promotion's output about finished steps.
func steps(promotion result) string {
	lines := slices.DeleteFunc(strings.Split(promotion.stdout, "\n"),
		func(line string) bool { return !strings.Contains(line, ": done in ") })
	return strings.Join(lines, "\n")
}

// visitOften requests a page until the returned function is called.
func (p *project) visitOften(t *testing.T, url string) (end func() (requests int, failures []string)) {
	t.Helper()
	client := p.client(t, 5*time.Second)
	stop := make(chan struct{})
	var visiting sync.WaitGroup
	var requests int
	var failures []string
	visiting.Add(1)
	go func() {
		defer visiting.Done()
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			requests++
			response, err := client.Get(url)
			switch {
			case err != nil:
				failures = append(failures, err.Error())
			case response.StatusCode != http.StatusOK:
				failures = append(failures, response.Status)
			}
			if err == nil {
				_ = response.Body.Close()
			}
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	return func() (int, []string) {
		close(stop)
		visiting.Wait()
		return requests, failures
	}
}

// destroyStacks destroys both stacks as the runbook describes.
func destroyStacks(t *testing.T, checkout *project) {
	t.Helper()
	checkout.replace(t, "Pulumi."+productionStack+".yaml", "immutable-infra:protect: true\n",
		"immutable-infra:protect: false\n")
	for _, command := range [][]string{
		{"up", "--yes", "--skip-preview", "--non-interactive", "--stack", productionStack},
		{"destroy", "--yes", "--skip-preview", "--non-interactive", "--stack", productionStack},
		{"destroy", "--yes", "--skip-preview", "--non-interactive", "--stack", testStack},
	} {
		done := checkout.run(t, 10*time.Minute, "pulumi", command...)
		require.NoError(t, done.err, done.String())
	}
}
