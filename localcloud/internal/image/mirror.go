package image

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"immutable-infra/localcloud/internal/run"
)

// suite is the Debian release of all images.
const suite = "trixie"

// sources are the images' apt sources: the mirrors that this machine has for its own Debian.
// Without any, where it is not Debian, the list is empty and mmdebstrap takes its defaults.
func sources(ctx context.Context, runner run.Runner) ([]string, error) {
	release, err := os.ReadFile("/etc/os-release")
	codename := debianCodename(release)
	if codename == "" || err != nil {
		return nil, nil // not Debian
	}
	targets, err := runner.Run(ctx, run.Command{Name: "apt-get", Args: []string{
		"indextargets", "--format", "$(RELEASE) $(SITE)", "Created-By: Packages",
	}})
	if err != nil {
		return nil, fmt.Errorf("find this machine's Debian mirrors: %w", err)
	}
	return parseSources(targets, codename), nil
}

// debianCodename reads os-release(5); it is "" elsewhere than on a Debian release.
func debianCodename(release []byte) string {
	values := map[string]string{}
	for line := range strings.Lines(string(release)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[key] = strings.Trim(value, `"`)
		}
	}
	if values["ID"] != "debian" {
		return ""
	}
	return values["VERSION_CODENAME"]
}

// parseSources reads lines of release and mirror. Other origins than Debian
// have no release of its codename.
func parseSources(targets []byte, codename string) []string {
	var found []string
	for line := range strings.Lines(string(targets)) {
		release, mirror, ok := strings.Cut(strings.TrimSpace(line), " ")
		pocket, ours := strings.CutPrefix(release, codename)
		if !ok || !ours || !slices.Contains([]string{"", "-updates", "-security"}, pocket) {
			continue
		}
		if source := fmt.Sprintf("deb %s %s%s main", mirror, suite, pocket); !slices.Contains(found, source) {
			found = append(found, source)
		}
	}
	return found
}
