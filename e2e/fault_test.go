package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// cloudConfigFile is the seam for a server's faults: data that the program passes to cloud-init. A test uses it to
// add a package, a command, a systemd drop-in, a Compose override or a Traefik router, each of which takes effect
// in its own documented way. No shipped program or configuration contains code for faults.
const cloudConfigFile = "server/boot/cloud-config.yaml"

// cloudConfig is the parsed content of that file.
type cloudConfig map[string]any

// declare changes the file in a copy until the test ends.
func (p *project) declare(t *testing.T, change func(config cloudConfig)) {
	t.Helper()
	path := filepath.Join(p.dir, cloudConfigFile)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	config := cloudConfig{}
	require.NoError(t, yaml.Unmarshal(text, &config))
	change(config)
	changed, err := yaml.Marshal(config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, changed, 0o644))
	t.Cleanup(func() { require.NoError(t, os.WriteFile(path, text, 0o644)) })
}

func declared(change func(config cloudConfig)) func(t *testing.T, broken *project) {
	return func(t *testing.T, broken *project) {
		t.Helper()
		broken.declare(t, change)
	}
}

func (c cloudConfig) list(key string) []any {
	list, _ := c[key].([]any)
	return list
}

// runFirst makes the server run commands before its own.
func (c cloudConfig) runFirst(commands ...[]string) {
	var first []any
	for _, command := range commands {
		first = append(first, command)
	}
	c["runcmd"] = append(first, c.list("runcmd")...)
}

func (c cloudConfig) install(name string) { c["packages"] = append(c.list("packages"), name) }

// leaveOut removes packages, which must be in the list.
func (c cloudConfig) leaveOut(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		require.Contains(t, c["packages"], name)
	}
	c["packages"] = slices.DeleteFunc(c.list("packages"),
		func(name any) bool { return slices.Contains(names, name.(string)) })
}

// write puts a file on the server before it is provisioned.
func (c cloudConfig) write(path, content string) {
	c["write_files"] = append(c.list("write_files"), map[string]string{"path": path, "content": content})
}

// dropIn changes a systemd unit.
func (c cloudConfig) dropIn(unit, text string) {
	c.write("/etc/systemd/system/"+unit+".d/fault.conf", text)
}

// override changes the compose project.
func (c cloudConfig) override(text string) { c.write("/opt/site/compose.override.yaml", text) }
