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

// aptSources returns the images' apt sources, which use this machine's own Debian mirrors. On other systems, the
// list is empty, and mmdebstrap uses its defaults.
func aptSources(ctx context.Context, runner run.Runner) ([]string, error) {
	release, err := os.ReadFile("/etc/os-release")
	codename := debianCodename(release)
	if codename == "" || err != nil {
		return nil, nil // not Debian
	}
	targets, err := runner.Run(ctx, run.Command{Name: "apt-get", Args: []string{
		"indextargets", "--format", "$(RELEASE) $(SITE)", "Created-By: Packages",
	}})
	if err != nil {
		return nil, fmt.Errorf("cannot find this machine's Debian mirrors: %w", err)
	}
	return parseSources(targets, codename), nil
}

// debianCodename parses os-release(5). It returns "" for anything but a Debian release.
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

// parseSources parses lines of a release and a mirror. It keeps only releases with Debian's codename, which other
// origins do not use.
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
