package server

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// agentSource creates a minimal program in place of the agent.
func agentSource(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module agent\n\ngo 1.26\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\nfunc main() {}\n"), 0o644))
	return dir
}

func TestBundleHasAllFilesOfAServer(t *testing.T) {
	bundle, err := BuildBundle(t.Context(), agentSource(t), t.TempDir(), "arm64")
	require.NoError(t, err)

	content, err := os.Open(bundle.Path)
	require.NoError(t, err)
	defer func() { require.NoError(t, content.Close()) }()
	compressed, err := gzip.NewReader(content)
	require.NoError(t, err)
	archive := tar.NewReader(compressed)
	modes := map[string]int64{}
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		modes[header.Name] = header.Mode
		if header.Name == "agent" {
			start := make([]byte, 20)
			_, err := io.ReadFull(archive, start)
			require.NoError(t, err)
			require.Equal(t, []byte{0xb7, 0}, start[18:], "the agent is a program for arm64 (ELF machine 183)")
		}
	}
	require.Equal(t, map[string]int64{
		"agent": 0o755, "bounded": 0o755, "drain": 0o644, "provision": 0o755, "compose.yaml": 0o644, "resolved.conf": 0o644,
		"nginx/Dockerfile": 0o644, "nginx/nginx.conf": 0o644, "nginx/types": 0o644,
		"php/Dockerfile": 0o644, "php/entrypoint": 0o644, "php/php-fpm.conf": 0o644, "php/probe.php": 0o644,
		"php/sendmail": 0o644, "php/site.ini": 0o644,
		"traefik/site.yaml": 0o644, "traefik/states/waiting.yaml": 0o644, "traefik/states/serving.yaml": 0o644,
		"traefik/states/draining.yaml": 0o644,
		"traefik/logrotate.conf":       0o644, "systemd/access-log.service": 0o644, "systemd/access-log.timer": 0o644,
		"systemd/agent-backup.service": 0o644, "systemd/agent-backup.timer": 0o644,
		"systemd/agent-pull.service": 0o644, "systemd/agent-pull.timer": 0o644, "systemd/agent-watch.service": 0o644,
		"systemd/agent-report.path": 0o644, "systemd/agent-report.service": 0o644, "systemd/bootstrap-remove.path": 0o644,

		"systemd/prometheus-pause.path": 0o644, "systemd/prometheus-pause.service": 0o644,
		"systemd/prometheus-resume.path": 0o644, "systemd/prometheus-resume.service": 0o644,
		"systemd/traefik-drain.service": 0o644,
		"admission.nft":                 0o644, "systemd/admission.service": 0o644,
		"systemd/web-reload.path": 0o644, "systemd/web-reload.service": 0o644,

		"compose.monitoring.yaml": 0o644, "metrics/collect": 0o644, "metrics/updates": 0o644,
		"systemd/security-updates.service": 0o644, "systemd/security-updates.timer": 0o644,
		"systemd/server-metrics.service": 0o644, "systemd/server-metrics.timer": 0o644,
		"prometheus/entrypoint": 0o644, "prometheus/prometheus.yaml": 0o644, "prometheus/rules/alerts.yaml": 0o644,
		"prometheus/rules/recording.yaml": 0o644,
		"alertmanager/alertmanager.yaml":  0o644, "alertmanager/entrypoint": 0o644,
		"monitoring/Dockerfile": 0o644, "blackbox/blackbox.yaml": 0o644,
		"grafana/dashboards/replacements.json": 0o644, "grafana/dashboards/server.json": 0o644,
		"grafana/dashboards/site.json":              0o644,
		"grafana/provisioning/dashboards/site.yaml": 0o644, "grafana/provisioning/datasources/prometheus.yaml": 0o644,
	}, modes)
}

func TestTheSameSourceMakesTheSameBundleAnywhere(t *testing.T) {
	first, err := BuildBundle(t.Context(), agentSource(t), t.TempDir(), "amd64")
	require.NoError(t, err)
	second, err := BuildBundle(t.Context(), agentSource(t), t.TempDir(), "amd64")
	require.NoError(t, err)
	require.Equal(t, first.Hash, second.Hash)

	a, err := os.ReadFile(first.Path)
	require.NoError(t, err)
	b, err := os.ReadFile(second.Path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(a, b))
}

func TestBundleHashCoversTheAgent(t *testing.T) {
	dir := agentSource(t)
	base, err := bundleHash(dir, "amd64")
	require.NoError(t, err)

	other, err := bundleHash(dir, "arm64")
	require.NoError(t, err)
	require.NotEqual(t, base, other, "another architecture is another bundle")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "main_test.go"), []byte("package main\n"), 0o644))
	same, err := bundleHash(dir, "amd64")
	require.NoError(t, err)
	require.Equal(t, base, same, "a changed test of the agent must not replace the server")

	require.NoError(t,
		os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\nfunc main() { println() }\n"), 0o644))
	changed, err := bundleHash(dir, "amd64")
	require.NoError(t, err)
	require.NotEqual(t, base, changed)
}

// If the hash omitted a package that the agent imports, a change of the package would not replace the server.
func TestBundleHashCoversEachSharedPackage(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", ".")
	list.Dir = "../agent"
	built, err := list.Output()
	require.NoError(t, err)
	shared := 0
	for name := range strings.FieldsSeq(string(built)) {
		path, ours := strings.CutPrefix(name, "immutable-infra/")
		if !ours || path == "agent" || strings.HasPrefix(path, "agent/") {
			continue
		}
		shared++
		entries, err := formats.ReadDir(strings.TrimPrefix(path, "server/"))
		require.NoError(t, err, "%q is not among the formats", name)
		require.NotEmpty(t, entries)
	}
	require.Equal(t, 4, shared)
}

func TestAnAgentThatDoesNotCompileLeavesNoBundle(t *testing.T) {
	dir, work := agentSource(t), t.TempDir()
	require.NoError(t,
		os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\nfunc main() { undefined() }\n"), 0o644))
	_, err := BuildBundle(t.Context(), dir, work, "amd64")
	require.ErrorContains(t, err, "undefined: undefined")
	left, err := filepath.Glob(filepath.Join(work, "bundle*"))
	require.NoError(t, err)
	require.Empty(t, left)
}
