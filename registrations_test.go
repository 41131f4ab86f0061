package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/require"

	"immutable-infra/internal/golden"
)

// withEverything sets every setting that adds a resource or an input.
func withEverything(values map[string]string) {
	withUptimeRobot(values)
	values["smtpHost"], values["smtpUser"], values["smtpPassword"] = "smtp.example.net", "site", "correct horse"
	values["grafanaGitHubId"], values["grafanaGitHubSecret"] = "Iv1.0123456789abcdef", "0123456789abcdef"
	values["grafanaGitHubOrganizations"] = `["example"]`
	values["victorOpsKey"] = "01234567-89ab-cdef-0123-456789abcdef"
	values["heartbeatURL"] = "https://heartbeat.example.net/m1"
	values["serverBoundary"] = "arn:aws:iam::123456789012:policy/immutable-infra-server-production"
	values["sshFromRunner"] = "true"
	values["dnsRecords"] = `[{"name": "mail.example.org", "type": "A", "values": ["192.0.2.7"]}]`
}

// The files are for reviewers: each changed line is an update or a replacement of a resource of an existing stack.
func TestRegistrationsOfEachStackAreAsReviewed(t *testing.T) {
	t.Setenv("SSH_FROM", "203.0.113.7/32")
	for name, resources := range map[string][]registered{
		"complete": deployed(t, "production", withEverything),
		"local":    deployed(t, "local"),
	} {
		golden.Equal(t, "registrations-"+name+".txt", registrations(t, resources))
	}
}

// testdata/released.txt lists the URNs of a stack that sets everything, as deployed by the previous release. After a
// release, replace them by the URNs in testdata/registrations-complete.txt, and remove the aliases that are no longer
// needed.
func TestStacksOfThePreviousReleaseKeepTheirResources(t *testing.T) {
	t.Setenv("SSH_FROM", "203.0.113.7/32")
	kept := map[string]bool{}
	for _, r := range deployed(t, "production", withEverything) {
		for _, urn := range append(r.Aliases, r.URN) {
			kept[urn] = true
		}
	}
	released, err := os.ReadFile("testdata/released.txt")
	require.NoError(t, err)
	for urn := range strings.Lines(string(released)) {
		urn = "urn:pulumi:production::immutable-infra::" + strings.TrimSpace(urn)
		require.True(t, kept[urn], "%s would be deleted: give its successor an alias", urn)
	}
}

// registrations lists resources with their inputs and options. The user data, which a golden file of package server
// shows, and the site's source are replaced by their hashes.
func registrations(t *testing.T, resources []registered) string {
	t.Helper()
	var entries []string
	var source string
	for _, r := range resources {
		if r.Name == "content-build" {
			source = r.Inputs["environment"].ObjectValue()["SOURCE_HASH"].StringValue()
		}
		lines := []string{r.URN}
		for _, key := range slices.Sorted(maps.Keys(r.Inputs)) {
			value := r.Inputs[key].MapRepl(nil, plain)
			if text, ok := value.(string); ok && key == "userData" {
				value = fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
			}
			encoded, err := json.Marshal(value)
			require.NoError(t, err)
			line := fmt.Sprintf("%s: %s", key, encoded)
			if r.Inputs[key].ContainsSecrets() {
				line += " (secret)"
			}
			lines = append(lines, line)
		}
		for option, values := range map[string][]string{
			"aliases": r.Aliases, "depends on": r.DependsOn, "deleted with": {r.DeletedWith}, "ignores changes of": r.Ignored,
			"replaced by changes of": r.Replacing, "replaced with": {r.Trigger}, "timeout": {r.Timeout},
		} {
			if text := strings.Join(slices.Sorted(slices.Values(values)), " "); text != "" {
				lines = append(lines, option+" "+text)
			}
		}
		if r.Protect {
			lines = append(lines, "protected")
		}
		slices.Sort(lines[1:])
		entries = append(entries, strings.Join(lines, "\n  ")+"\n")
	}
	slices.Sort(entries)
	short := strings.NewReplacer(source, "SOURCE-HASH",
		strings.TrimSuffix(resources[0].URN,
			resources[0].URN[strings.LastIndex(resources[0].URN, "immutable-infra:index:"):]), "")
	return short.Replace(strings.Join(entries, ""))
}

// plain unwraps secrets and outputs.
func plain(value resource.PropertyValue) (any, bool) {
	switch {
	case value.IsSecret():
		return value.SecretValue().Element.MapRepl(nil, plain), true
	case value.IsOutput():
		return value.OutputValue().Element.MapRepl(nil, plain), true
	}
	return nil, false
}
